//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

const (
	topic      = "items"
	partitions = 4
)

// cluster is everything that a run works on: the services, the links to them, and the fleet.
type cluster struct {
	cfg   Config
	clock history.Clock
	links *links
	store store          // the controller's own, straight to the source
	shop  *postgresStore // likewise, of the product servers
	admin *kafkago.Client

	kafka   *local.Server // carries the events
	nats    *natsServer   // instead of Kafka
	source  *local.Server // Postgres or MariaDB
	redis   *local.Server // the primary
	replica *local.Server // follows it through a link of its own
	nodes   *nodes        // instead of both, behind Sentinels or in a Cluster

	mu        sync.Mutex
	fleet     map[string]*process
	ever      []*process // all that were ever in the fleet
	servers   map[string]*productServer
	processes uint16 // given out so far
}

// newCluster starts the services and the fleet.
func newCluster(ctx context.Context, cfg Config) (b *cluster, err error) {
	b = &cluster{cfg: cfg, clock: history.NewClock(), links: newLinks(), fleet: map[string]*process{},
		servers: map[string]*productServer{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := b.startServices(ctx); err != nil {
		return b, err
	}
	if b.store, err = openStore(ctx, cfg.Source, b.address(b.source.Addr, ""), 4); err != nil {
		return b, err
	}
	if err := b.store.install(ctx, cfg.Keys); err != nil {
		return b, err
	}
	if m, ok := b.store.(*mariadbStore); ok {
		if err := m.accounts(ctx, b.members()); err != nil {
			return b, err
		}
	}
	if b.kafka != nil {
		b.admin = &kafkago.Client{Addr: kafkago.TCP(b.kafka.Addr), Timeout: 10 * time.Second}
		if err := b.createTopic(ctx); err != nil {
			return b, err
		}
	}
	if err := b.openShop(ctx); err != nil {
		return b, err
	}
	for _, m := range b.members() {
		if err := b.addNodeLinks(m); err != nil {
			return b, err
		}
		for _, s := range b.services() {
			if s == redisService && b.nodes != nil {
				continue
			}
			if err := b.links.add(m+"/"+string(s), b.upstream(s)); err != nil {
				return b, err
			}
		}
		if err := b.launch(m); err != nil {
			return b, err
		}
	}
	return b, b.watchShop(ctx)
}

func (b *cluster) startServices(ctx context.Context) (err error) {
	dir := func(name string) string {
		d := filepath.Join(b.cfg.Dir, name)
		err = errors.Join(err, os.MkdirAll(d, 0o755))
		return d
	}
	var errs [3]error
	var wg sync.WaitGroup
	eventsDir, sourceDir, redisDir := dir(b.cfg.Events), dir(b.cfg.Source), dir("redis-1")
	if err != nil {
		return err
	}
	wg.Go(func() {
		if b.cfg.Events == natsEvents {
			b.nats, errs[0] = startNATS(ctx, eventsDir)
		} else {
			b.kafka, errs[0] = local.StartKafka(ctx, eventsDir, b.cfg.Jars, local.Launch{})
		}
	})
	wg.Go(func() {
		if b.cfg.Source == mariadb {
			b.source, errs[1] = local.StartMariaDB(ctx, sourceDir, local.Launch{})
		} else {
			b.source, errs[1] = local.StartPostgres(ctx, sourceDir, local.Launch{})
		}
	})
	wg.Go(func() {
		if b.cfg.Redis == redisSingle {
			b.redis, errs[2] = b.startRedis(ctx, redisDir)
		} else {
			b.nodes, errs[2] = startNodes(ctx, b.cfg.Dir, b.cfg.Redis)
		}
	})
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil || b.nodes != nil {
		return err
	}
	if err := b.links.add("replica/redis-link", b.redis.Addr); err != nil {
		return err
	}
	b.replica, err = b.startRedis(ctx, dir("redis-2"))
	if err != nil {
		return err
	}
	return b.follow(ctx, b.replica, b.redis)
}

func (b *cluster) startRedis(ctx context.Context, dir string) (*local.Server, error) {
	return local.StartRedis(ctx, dir, local.Launch{}, "--repl-diskless-sync-delay", "0", "--repl-timeout", "5",
		"--dbfilename", "dump.rdb")
}

// follow makes a Redis the replica of another, by way of the link for that, and waits until it is.
func (b *cluster) follow(ctx context.Context, replica, primary *local.Server) error {
	l := b.links.of("replica", "redis-link")
	if err := l.cure(); err != nil {
		return err
	}
	if err := l.route(primary.Addr); err != nil {
		return err
	}
	host, port := split(l.addr)
	if _, err := local.RedisDo(ctx, replica.Addr, "REPLICAOF", host, port); err != nil {
		return err
	}
	return until(ctx, 20*time.Second, "the replica follows", func() bool {
		info, err := local.RedisDo(ctx, replica.Addr, "INFO", "replication")
		return err == nil && contains(info, "master_link_status:up")
	})
}

// upstream is where a service is.
func (b *cluster) upstream(s service) string {
	switch s {
	case redisService:
		return b.redis.Addr
	case kafkaService:
		return b.kafka.Addr
	case natsService:
		return b.nats.spec.NATS
	}
	return b.source.Addr
}

// address is where a member, or the controller (""), finds the source. The source knows members by their names.
func (b *cluster) address(at, member string) string {
	if b.cfg.Source == mariadb {
		return mariadbDSN(at, member)
	}
	url := local.PostgresURL(at, "postgres")
	if member != "" {
		url += "&application_name=" + member
	}
	return url
}

// instances are the names of those with a cache.
func (b *cluster) instances() (out []string) {
	for i := range b.cfg.Instances {
		out = append(out, "instance-"+strconv.Itoa(i))
	}
	return out
}

// members are the names of the fleet.
func (b *cluster) members() []string {
	names := append(b.instances(), "relay-0", "relay-1", "writer")
	if b.cfg.Events == kafkaEvents {
		names = append(names, "worker")
	}
	return append(names, b.serverNames()...)
}

// launch starts a member, for the first time or again.
func (b *cluster) launch(name string) error {
	if _, ok := number(name, "server-"); ok {
		return b.launchServer(name)
	}
	b.mu.Lock()
	b.processes++
	id := b.processes
	b.mu.Unlock()
	s := spec{Process: id, Instance: history.NoInstance, Seed: b.cfg.Seed, To: b.toRedis(name), Keys: b.cfg.Keys,
		Readers: b.cfg.Readers, Rate: b.cfg.Rate, Writes: b.cfg.Writes,
		Bound: b.cfg.Bound, Hold: b.cfg.Hold, Without: b.cfg.Without, Tracking: b.cfg.Tracking, Relayed: b.cfg.Relayed}
	if at := b.links.of(name, b.channel()).addr; b.nats != nil {
		s.NATS = at
	} else {
		s.Kafka, s.Brokers, s.Topic, s.Group = at, []string{b.kafka.Addr}, topic, group
	}
	if b.nodes == nil {
		s.Redis = b.links.of(name, redisService).addr
	}
	s.Source, s.Address = b.cfg.Source, b.address(b.links.of(name, postgresService).addr, name)
	s.Role, s.Log = name, filepath.Join(b.cfg.Dir, fmt.Sprintf("%03d-%s.hist", id, name))
	if n, ok := number(name, "instance-"); ok {
		s.Role, s.Instance, s.Default = "instance", uint16(n), n == 0
	} else if _, ok := number(name, "relay-"); ok {
		s.Role = "relay"
	}
	p, err := start(name, s, filepath.Join(b.cfg.Dir, name+".log"))
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fleet[name] = p
	b.ever = append(b.ever, p)
	return nil
}

// audited is what the auditors of all instances have compared and found, also of those that were killed.
func (b *cluster) audited() (reads uint64, differs []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.ever {
		st := p.status()
		reads += st.Audited
		differs = append(differs, st.Differs...)
	}
	return reads, differs
}

// member is a running process of the fleet.
func (b *cluster) member(name string) *process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fleet[name]
}

// close ends everything that was started.
func (b *cluster) close() {
	b.mu.Lock()
	fleet := b.fleet
	b.fleet = nil
	b.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range fleet {
		wg.Go(func() {
			if p.alive() {
				p.stop(10 * time.Second)
			}
		})
	}
	for _, s := range b.servers {
		wg.Go(s.kill)
	}
	wg.Wait()
	b.links.close()
	if b.store != nil {
		b.store.close()
	}
	if b.shop != nil {
		b.shop.close()
	}
	for _, s := range []*local.Server{b.redis, b.replica, b.kafka, b.source} {
		if s != nil {
			wg.Go(func() { b.discard(s) })
		}
	}
	if b.nodes != nil {
		wg.Go(b.nodes.close)
	}
	if b.nats != nil {
		wg.Go(b.nats.close)
	}
	wg.Wait()
}
