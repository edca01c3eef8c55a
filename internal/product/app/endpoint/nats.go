package endpoint

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// NATS says where the servers are, and as whom a program connects, in the words of the nats command. The zero value is
// no NATS.
type NATS struct {
	URL            string // of the servers, separated by commas
	User, Password string
	CredsFile      string // a file of a JWT and its seed; empty: none
	CAFile         string // certificates that sign those of the servers; empty: those of the system
	CertFile       string // the client's certificate and its key; empty: none
	KeyFile        string
}

var errNATS = errors.New("NATS_URL: it has the form nats://[user:password@]host:port, and several are separated by " +
	"commas; tls:// is for TLS, ws:// and wss:// for WebSockets")

// Options checks the settings, and returns what nats.go connects with. No error shows the password.
func (n NATS) Options() (opts []nats.Option, err error) {
	if n.URL == "" {
		if n != (NATS{}) {
			return nil, errors.New("NATS_URL is not set, so the other settings of NATS have no effect")
		}
		return nil, nil
	}
	if err := n.checkURL(); err != nil {
		return nil, err
	}
	if (n.User == "") != (n.Password == "") {
		return nil, errors.New("NATS_USER and NATS_PASSWORD need each other")
	}
	if n.User != "" {
		opts = append(opts, nats.UserInfo(n.User, n.Password))
	}
	if n.CredsFile != "" {
		if _, err := os.ReadFile(n.CredsFile); err != nil {
			return nil, fmt.Errorf("NATS_CREDS: %w", err)
		}
		opts = append(opts, nats.UserCredentials(n.CredsFile))
	}
	var tried nats.Options // an option of TLS reads its files
	if n.CAFile != "" {
		o := nats.RootCAs(n.CAFile)
		if err := o(&tried); err != nil {
			return nil, fmt.Errorf("NATS_CA: %w", err)
		}
		opts = append(opts, o)
	}
	if n.CertFile+n.KeyFile != "" {
		o := nats.ClientCert(n.CertFile, n.KeyFile)
		if err := o(&tried); err != nil {
			return nil, fmt.Errorf("NATS_CERT and NATS_KEY: %w", err)
		}
		opts = append(opts, o)
	}
	return opts, nil
}

// checkURL says nothing of the address: a password may be anywhere in one that cannot be parsed.
func (n NATS) checkURL() error {
	for s := range strings.SplitSeq(n.URL, ",") {
		if s = strings.TrimSpace(s); !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) ||
			u.Port() != "" && !port(u.Port()) {
			return errNATS
		}
	}
	return nil
}
