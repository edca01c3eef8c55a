package local

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below the range from which operating systems hand out ports to outgoing connections. A server that
// is restarted on its port would otherwise now and then find a client connection sitting on it.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// freePort is a loopback port on which nothing listened a moment ago. Somebody else may take it before its user does:
// whoever starts a server on it must be ready to try again with another.
func freePort() (int, error) {
	for range 200 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("local: give back port %d: %w", port, err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("local: no free port between %d and %d", lowestPort, highestPort)
}

// loopback is the address of a port on this machine.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
