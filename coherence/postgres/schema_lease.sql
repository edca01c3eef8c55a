-- Who leads the relays of a name. The leader raises the beat. session is null where a pooler is in between.
create table @@.leaders (
	name text primary key,
	term bigint not null, -- grows with each leader
	beat bigint not null, -- grows within a term
	holder text not null, -- for people; empty: the leader gave it back
	session int, -- the leader's own connection,
	session_began timestamptz, -- and when that began
	renewed_at timestamptz not null -- for people: no decision stands on a clock
) with (fillfactor = 50);
