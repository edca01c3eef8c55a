// Package endpoint reads the addresses of services. No error of its shows a password, or any other part of an address
// that cannot be parsed: nobody knows where a password is in such a one.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"
)

var errRedis = errors.New("it has the form redis://[user:password@]host:port[/database]; rediss:// is for TLS, " +
	"and unix:///path for a socket")

// redisOptions are what may follow the question mark of an address. The first seven are all that rueidis reads and the
// near cache does not set; the others it refuses later, by name.
var redisOptions = []string{"db", "addr", "dial_timeout", "write_timeout", "client_name", "master_set", "skip_verify",
	"max_retries", "protocol", "client_cache"}

// Redis reads the address of a Redis. Without a scheme it is taken as redis://.
func Redis(address string) (rueidis.ClientOption, error) {
	if !strings.Contains(address, "://") {
		address = "redis://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "unix" && u.Hostname() == "" || u.Scheme == "unix" && u.Path == "" {
		return rueidis.ClientOption{}, errRedis
	}
	for option := range u.Query() {
		if !slices.Contains(redisOptions, option) {
			return rueidis.ClientOption{}, fmt.Errorf("it has an option that there is not; there are %s",
				strings.Join(redisOptions, ", "))
		}
	}
	host, p := u.Hostname(), u.Port()
	if p != "" && !port(p) || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return rueidis.ClientOption{}, errRedis
	}
	opt, err := rueidis.ParseURL(address)
	if err != nil {
		return rueidis.ClientOption{}, errRedis
	}
	return opt, nil
}

// RedisAt is the Redis at REDIS_HOST and REDIS_PORT. An IPv6 address may be in brackets.
func RedisAt(host, p string) (rueidis.ClientOption, error) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	_, err := netip.ParseAddr(host)
	if err != nil && (host == "" || strings.ContainsAny(host, ":/@[]?# \t\r\n")) {
		return rueidis.ClientOption{}, errors.New("REDIS_HOST: it is a name or an address alone; REDIS_URL takes more")
	}
	if !port(p) {
		return rueidis.ClientOption{}, fmt.Errorf("REDIS_PORT: %.20q is not a port: 1 to 65535", p)
	}
	return rueidis.ClientOption{InitAddress: []string{net.JoinHostPort(host, p)}}, nil
}

// CheckListen says why nothing can listen at an address, nil if something may.
func CheckListen(address string) error {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if _, err := net.LookupPort("tcp", p); err != nil {
		return fmt.Errorf("%.20q is not a port", p)
	}
	return nil
}

func port(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n < 1<<16
}

// Brokers reads a list of Kafka's bootstrap servers: host:port, separated by commas.
func Brokers(list string) (brokers []string, err error) {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		host, p, err := net.SplitHostPort(s)
		if err != nil || host == "" || !port(p) || strings.Contains(s, "@") {
			return nil, errors.New("it has the form host:port, and several are separated by commas")
		}
		brokers = append(brokers, s)
	}
	if len(brokers) == 0 && list != "" {
		return nil, errors.New("it names no broker")
	}
	return brokers, nil
}

// Postgres reads the address of a Postgres database.
func Postgres(address string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil || !IsPostgres(address) {
		return nil, errors.New("it has the form postgres://user:password@host:port/database?sslmode=MODE")
	}
	return cfg, nil
}

// IsPostgres tells a Postgres database from others by the scheme.
func IsPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// SQLite is the file of an address sqlite:FILE.
func SQLite(address string) (file string, ok bool) {
	file, ok = strings.CutPrefix(address, "sqlite:")
	return file, ok && file != ""
}

// Redact covers what may be a password in a text: everything between a scheme and an @, and passwords in parameters.
// The forms of addresses in this package's errors stay.
func Redact(s string) string {
	s = credentials.ReplaceAllStringFunc(s, func(found string) string {
		if found == "://user:password@" || found == "://[user:password@" {
			return found
		}
		return "://xxxxx@"
	})
	return parameters.ReplaceAllString(s, "${1}xxxxx")
}

var (
	credentials = regexp.MustCompile(`://[^\s]*@`)
	parameters  = regexp.MustCompile(`(?i)((?:password|passwd|pwd|secret|token)=)[^\s&]+`)
)
