package suite

// channelCounts are the totals of the instances of a process, or rates per second.
type channelCounts struct {
	Reads, Errors, L1Hits float64
	Redis, Broadcast      channelTraffic // of the near cache; of the BCAST listener beside it
	Kafka                 channelTraffic // of the follower: Messages are events and barriers, Keys are events
}

// channelTraffic is what goes over the connections of one kind.
type channelTraffic struct {
	In, Out                float64 // bytes
	Messages, Keys, Pushed float64 // pushes, the keys and the bytes in them
}

// plus returns c + f*d.
func (c channelCounts) plus(f float64, d channelCounts) channelCounts {
	return channelCounts{c.Reads + f*d.Reads, c.Errors + f*d.Errors, c.L1Hits + f*d.L1Hits,
		c.Redis.plus(f, d.Redis), c.Broadcast.plus(f, d.Broadcast), c.Kafka.plus(f, d.Kafka)}
}

func (t channelTraffic) plus(f float64, d channelTraffic) channelTraffic {
	return channelTraffic{t.In + f*d.In, t.Out + f*d.Out, t.Messages + f*d.Messages, t.Keys + f*d.Keys,
		t.Pushed + f*d.Pushed}
}

func (m *trafficMeter) traffic() channelTraffic {
	return channelTraffic{float64(m.in.Load()), float64(m.out.Load()), float64(m.messages.Load()),
		float64(m.keys.Load()), float64(m.pushed.Load())}
}
