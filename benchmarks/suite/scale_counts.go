package suite

// scaleCounts are what the instances of a process have done and got so far.
type scaleCounts struct {
	Reads, Errors, NearHits float64
	Redis, Broadcast        scaleTraffic // of the near cache; of the listener beside it
	Kafka                   scaleTraffic // of the follower: Messages are events and markers, Keys events
}

type scaleTraffic struct {
	In, Out                float64 // bytes
	Messages, Keys, Pushed float64 // pushes, keys in them, their bytes
}

// plus is c and f times d.
func (c scaleCounts) plus(f float64, d scaleCounts) scaleCounts {
	return scaleCounts{c.Reads + f*d.Reads, c.Errors + f*d.Errors, c.NearHits + f*d.NearHits,
		c.Redis.plus(f, d.Redis), c.Broadcast.plus(f, d.Broadcast), c.Kafka.plus(f, d.Kafka)}
}

func (t scaleTraffic) plus(f float64, d scaleTraffic) scaleTraffic {
	return scaleTraffic{t.In + f*d.In, t.Out + f*d.Out, t.Messages + f*d.Messages, t.Keys + f*d.Keys, t.Pushed +
		f*d.Pushed}
}

func (m *trafficMeter) traffic() scaleTraffic {
	return scaleTraffic{float64(m.in.Load()), float64(m.out.Load()), float64(m.messages.Load()),
		float64(m.keys.Load()), float64(m.pushed.Load())}
}
