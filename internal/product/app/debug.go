package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
)

// debugListener serves an instance's DebugHandler on an address apart from the API's: it shows keys, and authorises
// nobody.
type debugListener struct {
	server *http.Server
	listen net.Listener
	ended  chan struct{}
}

// serveDebug listens and serves.
func serveDebug(address string, client *nearcache.Client, log *slog.Logger) (*debugListener, error) {
	listen, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for DEBUG_LISTEN_ADDR: %w", err)
	}
	d := &debugListener{listen: listen, ended: make(chan struct{}), server: timeouts(&http.Server{
		Handler: nearcache.DebugHandler(client), ErrorLog: serverLog(log)}, 5*time.Second)}
	log.Info("serving the caches' view", "url", "http://"+listen.Addr().String())
	go func() {
		defer close(d.ended)
		if err := d.server.Serve(listen); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving the caches' view ended", "error", err)
		}
	}()
	return d, nil
}

// close ends it. It may be nil.
func (d *debugListener) close() {
	if d != nil {
		_ = d.server.Close()
		<-d.ended
	}
}
