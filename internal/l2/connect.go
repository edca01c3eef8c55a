package l2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Defaults for what the caller's rueidis.ClientOption leaves at zero. rueidis's own would let a dead peer hold up a
// read for eleven seconds.
const (
	defaultDialTimeout  = time.Second
	defaultKeepAlive    = time.Second // also how long a silent connection goes without a PING
	defaultWriteTimeout = time.Second
)

// Tracker hears of what Redis tracking pushes. Its methods run on rueidis's reader goroutines, and must not block.
type Tracker interface {
	// KeysChanged says that records were modified, expired or evicted; hashes are those of HashRecord.
	KeysChanged(hashes []uint64)
	// SessionChanged says that pushes of the keys of some buckets may have been missed, or come later than the replies:
	// their connection was lost, their next commands go to another one, their server was flushed, or takes no writes. It
	// is called before the first command that goes elsewhere does.
	SessionChanged(of BucketSet)
}

// checkOption refuses what the connections depend on. RESP2 has no pushes, and suits where nothing is tracked.
func checkOption(o rueidis.ClientOption, tracker Tracker) error {
	var errs []error
	own := func(set bool, name string) {
		if set {
			errs = append(errs, fmt.Errorf("ClientOption.%s belongs to the near cache and must be left unset", name))
		}
	}
	own(o.OnInvalidations != nil, "OnInvalidations")
	own(o.ClientTrackingOptions != nil, "ClientTrackingOptions")
	own(o.DisableCache, "DisableCache")
	own(o.NewCacheStoreFn != nil, "NewCacheStoreFn")
	own(o.AlwaysRESP2 && tracker != nil, "AlwaysRESP2")
	own(o.ReplicaOnly, "ReplicaOnly")
	own(o.SendToReplicas != nil, "SendToReplicas")
	own(o.PipelineMultiplex != 0, "PipelineMultiplex")
	own(o.DisableAutoPipelining, "DisableAutoPipelining")
	own(o.ConnLifetime != 0, "ConnLifetime")
	own(o.DialFn != nil, "DialFn (use DialCtxFn)")
	own(o.Standalone.ReplicaAddress != nil, "Standalone.ReplicaAddress")
	if len(o.InitAddress) == 0 {
		errs = append(errs, errors.New("ClientOption.InitAddress is empty"))
	}
	for _, a := range o.InitAddress {
		if err := checkAddress(a); err != nil && o.DialCtxFn == nil {
			errs = append(errs, fmt.Errorf("ClientOption.InitAddress has %q: %w", shownAddress(a), err))
		}
	}
	return errors.Join(errs...)
}

// checkAddress refuses what can never be dialled: what is neither host:port nor the path of a socket. Only a dialer of
// the caller's own may know other addresses.
func checkAddress(addr string) error {
	if strings.HasPrefix(addr, "/") {
		return nil
	}
	if strings.Contains(addr, "://") {
		return errors.New("a URL; rueidis.ParseURL makes a ClientOption of it")
	}
	_, port, err := net.SplitHostPort(addr)
	if n, notNumber := strconv.Atoi(port); err != nil || port == "" || notNumber == nil && (n < 1 || n > 65535) {
		return errors.New("the form is host:port, or the path of a socket")
	}
	return nil
}

// shownAddress is an address without what may be a password before its host.
func shownAddress(addr string) string {
	if at := strings.LastIndexByte(addr, '@'); at >= 0 {
		return "..." + addr[at:]
	}
	return addr
}

// options are the rueidis options of the tracking and of the commands connection. Without a tracker there is no
// tracking connection, and its options are nil.
//
// The tracking connection is one for each node, so that a push can never be overtaken by a reply; per-key tracking
// without OPTIN, and without NOLOOP, under which Redis does not tell of evictions during the connection's own commands.
// Both fail a command once and at once when Redis is away: the read goes to the source rather than wait. The commands
// share one connection for each node too. Beside each other on several they would be written one by one; on one, those
// that come together go together.
func (l *L2) options(o rueidis.ClientOption) (tracking *rueidis.ClientOption, commands rueidis.ClientOption) {
	if o.Dialer.Timeout == 0 {
		o.Dialer.Timeout = defaultDialTimeout
	}
	if o.Dialer.KeepAlive == 0 {
		o.Dialer.KeepAlive = defaultKeepAlive
	}
	if o.ConnWriteTimeout == 0 {
		o.ConnWriteTimeout = defaultWriteTimeout
	}
	o.DisableRetry = true
	o.BlockingPipeline = math.MaxInt32 // a long pipeline must not leave for a pooled connection
	o.PipelineMultiplex = -1
	commands = o
	commands.DisableCache = true
	dial := o.DialCtxFn
	if dial == nil {
		dial = dialPlain
	}
	// Which node has a bucket shows on the tracking connection, if there is one: heartbeats ask for every bucket there.
	followed := func(routes *routes) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
		return func(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
			conn, err := dial(ctx, addr, d, cfg)
			if err != nil || conn == nil {
				return nil, err
			}
			return follow(conn, routes, l.nodes.at(addr)), nil
		}
	}
	tracker := l.routes.tracker
	if tracker == nil {
		commands.DialCtxFn = followed(l.routes)
		return nil, commands
	}
	tracking = &o
	tracking.ClientTrackingOptions = []string{}
	tracking.CacheSizeEachConn = 1 << 10 // rueidis's own cache stays empty
	tracking.DialCtxFn, commands.DialCtxFn = followed(l.routes), followed(nil)
	tracking.OnInvalidations = func(msgs []rueidis.RedisMessage) {
		hashes := make([]uint64, 0, len(msgs)) // none: the connection was lost, or its server flushed; see routedConn
		for i := range msgs {
			if key, err := msgs[i].ToString(); err == nil {
				hashes = append(hashes, HashRecord(key))
			}
		}
		if len(hashes) > 0 {
			tracker.KeysChanged(hashes)
		}
	}
	return tracking, commands
}

// errHandshake wraps why a TLS handshake has failed.
var errHandshake = errors.New("TLS handshake")

func dialPlain(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
	network := "tcp"
	if addr != "" && addr[0] == '/' {
		network = "unix"
	}
	if cfg != nil {
		td := tls.Dialer{NetDialer: d, Config: cfg}
		conn, err := td.DialContext(ctx, network, addr)
		var dialing *net.OpError
		if err != nil && !(errors.As(err, &dialing) && dialing.Op == "dial") {
			err = fmt.Errorf("%w: %w", errHandshake, err)
		}
		return conn, err
	}
	return d.DialContext(ctx, network, addr)
}

// clients are the two connections; see the package documentation. Without a tracker there is no tracking connection.
type clients struct{ tracking, commands rueidis.Client }

// connect makes all of them, or none. rueidis.NewClient fails when Redis is down, in whatever topology.
func connect(tracking *rueidis.ClientOption, commands rueidis.ClientOption) (cs *clients, err error) {
	cs = new(clients)
	if tracking != nil {
		if cs.tracking, err = rueidis.NewClient(*tracking); err != nil {
			return nil, err
		}
	}
	if cs.commands, err = rueidis.NewClient(commands); err != nil {
		if tracking != nil {
			cs.tracking.Close()
		}
		return nil, err
	}
	return cs, nil
}

// reading is the connection that reads.
func (cs *clients) reading() rueidis.Client {
	if cs.tracking != nil {
		return cs.tracking
	}
	return cs.commands
}

func (cs *clients) close() {
	if cs.tracking != nil {
		cs.tracking.Close()
	}
	cs.commands.Close()
}

// keepConnecting tries until it succeeds or ctx ends, at growing intervals, and then closes connected.
func keepConnecting(
	ctx context.Context,
	into *atomic.Pointer[clients],
	connected chan<- struct{},
	try func() (*clients, error),
	failed func(error),
) {
	wait := 50 * time.Millisecond
	for {
		c, err := try()
		if err == nil {
			into.Store(c)
			close(connected)
			return
		}
		failed(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}
