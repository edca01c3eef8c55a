//go:build unix

package chaos

import (
	"context"
	"time"
)

// kafkaFaults are what can happen to the event channel.
func kafkaFaults() []fault {
	return []fault{
		{"kafka: kill -9", func(_ context.Context, in *injection) error {
			in.kafka.Kill()
			in.heal(func(ctx context.Context) error { return in.kafka.Restart(ctx) })
			return nil
		}, 100 * time.Millisecond, time.Second},
		{"kafka: records deleted", func(ctx context.Context, in *injection) error {
			// Somebody must have fallen behind to miss them.
			if err := in.addToxics(in.anInstance(), kafkaService, blackhole, []string{"downstream"}); err != nil {
				return err
			}
			pause(ctx, 500*time.Millisecond)
			return in.trimTopic(ctx)
		}, 300 * time.Millisecond, time.Second},
		{"kafka: topic made anew", func(ctx context.Context, in *injection) error {
			if err := in.deleteTopic(ctx); err != nil {
				return err
			}
			in.heal(func(ctx context.Context) error { return in.createTopic(ctx) })
			return nil
		}, 100 * time.Millisecond, time.Second},
		{"kafka: partitions added", func(ctx context.Context, in *injection) error { return in.growTopic(ctx, 1) },
			300 * time.Millisecond, time.Second},
		{"kafka: stopped", func(_ context.Context, in *injection) error {
			in.heal(func(context.Context) error { return in.kafka.Resume() })
			return in.kafka.Pause()
		}, 500 * time.Millisecond, 3 * time.Second},
	}
}
