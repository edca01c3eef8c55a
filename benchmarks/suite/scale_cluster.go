package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// scaleRedis is the Redis of a point: one server, or the masters of a cluster.
type scaleRedis struct {
	servers []*local.Server
	clients []rueidis.Client // one for each server
}

func (s *scaleRedis) address() string { return s.servers[0].Addr }

func (s *scaleRedis) pids() (ids []int) {
	for _, server := range s.servers {
		ids = append(ids, server.Pid())
	}
	return ids
}

// flush empties all servers.
func (s *scaleRedis) flush(ctx context.Context) (err error) {
	for _, c := range s.clients {
		err = errors.Join(err, c.Do(ctx, c.B().Flushall().Build()).Error())
	}
	return err
}

func (s *scaleRedis) close() {
	for _, c := range s.clients {
		c.Close()
	}
	for _, server := range s.servers {
		server.Discard()
	}
}

// openCluster starts a cluster of masters that share the slots evenly.
func openCluster(ctx context.Context, e *Env, masters int) (_ *scaleRedis, err error) {
	s := &scaleRedis{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for i := range masters {
		dir, err := e.dataDir(fmt.Sprintf("redis-%d", i))
		if err != nil {
			return nil, err
		}
		server, err := local.StartRedis(ctx, dir, local.Launch{Started: e.record}, "--cluster-enabled", "yes",
			"--tracking-table-max-keys", "0")
		if err != nil {
			return nil, err
		}
		s.servers = append(s.servers, server)
		if err := s.join(ctx, server, i, masters); err != nil {
			return nil, err
		}
	}
	return s, s.awaitSlots(ctx)
}

// join connects to a master, gives it its part of the slots, and tells it of the first one.
func (s *scaleRedis) join(ctx context.Context, server *local.Server, i, masters int) error {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true,
		ForceSingleClient: true})
	if err != nil {
		return err
	}
	s.clients = append(s.clients, c)
	const slots = 16384
	from, to := i*slots/masters, (i+1)*slots/masters-1
	if _, err := local.RedisDo(ctx, server.Addr, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from),
		fmt.Sprint(to)); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(s.servers[0].Addr)
	if err != nil || i == 0 {
		return err
	}
	_, err = local.RedisDo(ctx, server.Addr, "CLUSTER", "MEET", host, port)
	return err
}

// awaitSlots returns when every master knows the owners of all slots.
func (s *scaleRedis) awaitSlots(ctx context.Context) error {
	deadline := time.Now().Add(30 * time.Second)
	for _, server := range s.servers {
		for {
			info, err := local.RedisDo(ctx, server.Addr, "CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(s.servers))) {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("suite: the cluster does not form: %s", info)
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}
