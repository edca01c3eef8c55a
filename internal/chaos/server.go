//go:build unix

package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// shop is the database of the product servers. They have versions, an outbox and a relay of their own, and in Redis a
// database of their own, since two sources cannot share a keyspace's watermarks.
const shop = "shop"

// shopSchema is the ground truth of products: a product's name begins with the number of the write that made it.
const shopSchema = `
create table if not exists nc_history (id bigserial primary key, key bigint not null, version bigint not null,
	body text, write bigint not null,
	uncounted boolean not null default false);
create or replace function zz_history() returns trigger language plpgsql as $$
begin
	insert into nc_history (key, version, body, write)
		select substr(c.id, 2)::bigint, v.version, c.name, ('x' || substr(c.name, 1, 16))::bit(64)::bigint
		from changed c join nearcache.versions v on v.namespace = 'product' and v.key = c.id order by c.id;
	return null;
end $$;
drop trigger if exists zz_history_insert on products;
drop trigger if exists zz_history_update on products;
create trigger zz_history_insert after insert on products referencing new table as changed
	for each statement execute function zz_history();
create trigger zz_history_update after update on products referencing new table as changed
	for each statement execute function zz_history()`

// productServer is a running cmd/product-server.
type productServer struct {
	name string
	id   uint16 // as a process of the history
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	hist *history.Log
}

// servers are the names of the product servers, if there are any.
func (b *cluster) serverNames() []string {
	if b.cfg.Server == "" {
		return nil
	}
	return []string{"server-0", "server-1"}
}

// openShop makes the database.
func (b *cluster) openShop(ctx context.Context) (err error) {
	if b.cfg.Server == "" {
		return nil
	}
	if _, err := b.store.(*postgresStore).pool.Exec(ctx, "create database "+shop); err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	b.shop, err = openPostgres(ctx, local.PostgresURL(b.source.Addr, shop), 2)
	return err
}

// watchShop installs the ground truth once the servers have made their table.
func (b *cluster) watchShop(ctx context.Context) error {
	if b.cfg.Server == "" {
		return nil
	}
	var err error
	if wait := until(ctx, 30*time.Second, "the product servers have made their table", func() bool {
		_, err = b.shop.pool.Exec(ctx, shopSchema)
		return err == nil
	}); wait != nil {
		return fmt.Errorf("%w: %w", wait, err)
	}
	return nil
}

// launchServer starts a product server, for the first time or again.
func (b *cluster) launchServer(name string) error {
	b.mu.Lock()
	b.processes++
	s := &productServer{name: name, id: b.processes, done: make(chan struct{})}
	b.mu.Unlock()
	n, _ := number(name, "server-")
	s.log = filepath.Join(b.cfg.Dir, fmt.Sprintf("%03d-%s.log", s.id, name))
	logFile, err := os.Create(s.log)
	if err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	defer logFile.Close()
	s.hist, err = history.Create(filepath.Join(b.cfg.Dir, fmt.Sprintf("%03d-%s.hist", s.id, name)),
		history.Header{Process: s.id, Instance: uint16(100 + n)})
	if err != nil {
		return err
	}
	s.cmd = exec.Command(b.cfg.Server)
	s.cmd.Env = append(os.Environ(),
		"DATABASE_URL="+local.PostgresURL(b.links.of(name, postgresService).addr, shop),
		"REDIS_URL=redis://"+b.links.of(name, redisService).addr+"/1",
		"KAFKA_BOOTSTRAP_SERVERS="+b.kafka.Addr, "KAFKA_PRODUCT_TOPIC=products", "KAFKA_GROUP_ID=products",
		"HEARTBEAT_MS=25", "RELAY=true", "WORKER=true", "LISTEN_ADDR=127.0.0.1:0", "SEED_PRODUCTS=0",
		"FORCED_READS_PER_SECOND=0", roleVariable+"=")
	if n == 0 {
		s.cmd.Env = append(s.cmd.Env, fmt.Sprintf("CACHE_MAX_STALENESS_MS=%d", b.cfg.Bound.Milliseconds()))
	}
	s.cmd.Stderr, s.cmd.Stdout = logFile, logFile
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := local.StartBound(s.cmd); err != nil {
		return fmt.Errorf("chaos: start %s: %w", name, err)
	}
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers[name] = s
	return nil
}

// server is a running product server.
func (b *cluster) server(name string) *productServer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[name]
}

// kill is kill -9.
func (s *productServer) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

var servingURL = regexp.MustCompile(`msg=serving.* url=(\S+)`)

// url is where it serves, "" while it does not.
func (s *productServer) url() string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return ""
	}
	m := servingURL.FindStringSubmatch(string(b))
	if m == nil {
		return ""
	}
	return strings.TrimSuffix(m[1], "/")
}
