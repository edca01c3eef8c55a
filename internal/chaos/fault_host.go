//go:build unix

package chaos

import (
	"context"
	"time"
)

// hostFaults are what can happen between the host of an instance and all services, with Config.Hosts. Packets are
// lost; no connection is closed or refused, so each stays half open until its own timeouts end it.
func hostFaults() []fault {
	lost := func(name string, directions ...direction) fault {
		return fault{"host: an instance " + name, func(_ context.Context, in *injection) error {
			h := in.hosts[in.anInstance()]
			for _, d := range directions {
				if err := h.lose(d); err != nil {
					return err
				}
				in.heal(func(context.Context) error { return h.restore(d) })
			}
			return nil
		}, time.Second, 5 * time.Second}
	}
	return []fault{
		lost("hears nothing", toHost),
		lost("is not heard", fromHost),
		lost("is cut off", toHost, fromHost),
	}
}
