package nearcachetest

import (
	"slices"
	"strconv"
	"strings"
)

// effect tells what a command does to keys, as far as tracking goes. What is not in the table of effects reads its
// first argument if miniredis has it as read-only, and otherwise changes it: a push too many does less harm than one
// missing.
type effect struct {
	reads  func(args []string) []string // keys that the caller now tracks
	writes func(args []string) []string // keys that it may have changed
	// changed is whether it changed one of these; nil: if the key was there before or is there after. An error never does.
	changed func(c *outcome) bool
	states  bool                     // changed asks for the whole state, not only whether the key exists
	blocks  func(args []string) bool // waits for other commands; nil: it does not
}

// outcome is what is known of a command's effect on one of its keys.
type outcome struct {
	args          []string
	reply         string
	before, after state
}

// state is a key's state: whether it exists, and, where the effect asks, what can tell a change.
type state struct {
	exists bool
	value  string
}

// Where a command has its keys.

func none([]string) []string       { return nil }
func each(args []string) []string  { return args }
func first(args []string) []string { return args[:min(1, len(args))] }
func two(args []string) []string   { return args[:min(2, len(args))] }

func second(args []string) []string { return args[min(1, len(args)):min(2, len(args))] }

func everySecond(args []string) (keys []string) {
	for i := 0; i < len(args); i += 2 {
		keys = append(keys, args[i])
	}
	return keys
}

// counted are the keys of a command that first says how many they are.
func counted(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 0 {
		return nil
	}
	return args[1:min(1+n, len(args))]
}

// afterTimeout are the keys of BZMPOP.
func afterTimeout(args []string) []string { return counted(args[min(1, len(args)):]) }

func butLast(args []string) []string { return args[:max(0, len(args)-1)] }

// streams are the keys of XREAD, the first half of what follows STREAMS.
func streams(args []string) []string {
	i := slices.IndexFunc(args, func(a string) bool { return strings.EqualFold(a, "STREAMS") })
	if i < 0 {
		return nil
	}
	rest := args[i+1:]
	return rest[:len(rest)/2]
}

// stored is the key that GEORADIUS stores into, if any.
func stored(args []string) []string {
	for i := 1; i+1 < len(args); i++ {
		if strings.EqualFold(args[i], "STORE") || strings.EqualFold(args[i], "STOREDIST") {
			return args[i+1 : i+2]
		}
	}
	return nil
}

func has(args []string, option string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return strings.EqualFold(a, option) })
}

// When a command has changed a key.

// byCount: the reply counts what changed; -1 is LINSERT's pivot not found.
func byCount(c *outcome) bool { return c.reply != ":0\r\n" && c.reply != ":-1\r\n" }

// byReply: a null or an empty aggregate says that nothing was there.
func byReply(c *outcome) bool { return !empty(c.reply) }

func empty(reply string) bool {
	return strings.HasPrefix(reply, "_") || strings.HasPrefix(reply, "$-1") || strings.HasPrefix(reply, "*-1") ||
		strings.HasPrefix(reply, "*0") || strings.HasPrefix(reply, "~0") || strings.HasPrefix(reply, "%0")
}

func byExistence(c *outcome) bool { return c.before.exists != c.after.exists }

func byState(c *outcome) bool { return c.before != c.after }

// byStore: an empty result deletes what was there.
func byStore(c *outcome) bool { return c.before.exists || c.reply != ":0\r\n" }

// bySet: with GET, the reply of SET is the old value and does not tell whether there is a new one.
func bySet(c *outcome) bool {
	options := c.args[min(2, len(c.args)):]
	switch {
	case !has(options, "GET"):
		return !empty(c.reply)
	case has(options, "NX"):
		return !c.before.exists
	case has(options, "XX"):
		return c.before.exists
	}
	return true
}

func blockOption(args []string) bool { return has(args, "BLOCK") }
func always([]string) bool           { return true }

var (
	nothing   = effect{reads: none, writes: none}
	countsOne = effect{writes: first, changed: byCount}
	findsOne  = effect{writes: first, changed: byReply}
	diffsOne  = effect{writes: first, changed: byState, states: true}
	storesOne = effect{writes: first, changed: byStore}
)

// effects are those of the commands that are not told by the rule for the others.
var effects = map[string]effect{
	"AUTH": nothing, "CLIENT": nothing, "CLUSTER": nothing, "COMMAND": nothing, "DBSIZE": nothing,
	"DISCARD": nothing, "ECHO": nothing,
	"EVAL": nothing, "EVALSHA": nothing, "EVALSHA_RO": nothing, "EVAL_RO": nothing,
	"FLUSHALL": nothing, "FLUSHDB": nothing,
	"HELLO": nothing, "INFO": nothing, "KEYS": nothing, "PING": nothing, "PUBLISH": nothing,
	"PUBSUB": nothing, "QUIT": nothing,
	"RANDOMKEY": nothing, "SCAN": nothing, "SCRIPT": nothing, "SELECT": nothing, "SWAPDB": nothing, "TIME": nothing,
	"UNSUBSCRIBE": nothing, "PUNSUBSCRIBE": nothing, "UNWATCH": nothing, "WATCH": nothing,
	"XACK": nothing, "XAUTOCLAIM": nothing,
	"XCLAIM": nothing, "WAIT": {reads: none, writes: none, blocks: always},

	"EXISTS": {reads: each}, "MGET": {reads: each}, "PFCOUNT": {reads: each},
	"SDIFF": {reads: each}, "SINTER": {reads: each},
	"SUNION": {reads: each}, "TOUCH": {reads: each}, "SINTERCARD": {reads: counted}, "ZINTER": {reads: counted},
	"ZUNION": {reads: counted}, "OBJECT": {reads: second}, "XINFO": {reads: second}, "MEMORY": {reads: second},
	"XREAD": {reads: streams, blocks: blockOption}, "XREADGROUP": {reads: none, writes: none, blocks: blockOption},

	"EXPIRE": countsOne, "EXPIREAT": countsOne, "PEXPIRE": countsOne, "PEXPIREAT": countsOne, "PERSIST": countsOne,
	"SETNX": countsOne, "PFADD": countsOne, "HDEL": countsOne, "HSETNX": countsOne, "SADD": countsOne, "SREM": countsOne,
	"LINSERT": countsOne, "LPUSHX": countsOne, "RPUSHX": countsOne, "LREM": countsOne,
	"XDEL": countsOne, "XTRIM": countsOne,
	"ZREM": countsOne, "ZREMRANGEBYLEX": countsOne, "ZREMRANGEBYRANK": countsOne, "ZREMRANGEBYSCORE": countsOne,
	"MOVE": countsOne, "DELEX": countsOne,
	"GETDEL": findsOne, "SPOP": findsOne, "XADD": findsOne, "ZPOPMAX": findsOne, "ZPOPMIN": findsOne,
	"GETEX": diffsOne, "LPOP": diffsOne, "RPOP": diffsOne, "SETBIT": diffsOne, "ZADD": diffsOne, "GEOADD": diffsOne,
	"SDIFFSTORE": storesOne, "SINTERSTORE": storesOne, "SUNIONSTORE": storesOne,
	"ZINTERSTORE": storesOne, "ZUNIONSTORE": storesOne,
	"PFMERGE": storesOne, "BITOP": {writes: second, changed: byStore}, "GEORADIUS": {writes: stored, changed: byStore},
	"GEORADIUSBYMEMBER": {writes: stored, changed: byStore},

	"COPY":   {writes: second, changed: byCount},
	"DEL":    {writes: each, changed: byExistence},
	"UNLINK": {writes: each, changed: byExistence},
	"LMOVE":  {writes: two, changed: byReply}, "RPOPLPUSH": {writes: two, changed: byReply},
	"LMPOP":  {writes: counted, changed: byState, states: true},
	"ZMPOP":  {writes: counted, changed: byState, states: true},
	"MSET":   {writes: everySecond},
	"MSETNX": {writes: everySecond, changed: byCount},
	"RENAME": {writes: two}, "RENAMENX": {writes: two, changed: byCount},
	"SET":    {writes: first, changed: bySet},
	"SMOVE":  {writes: two, changed: byState, states: true},
	"XGROUP": {writes: second, changed: byExistence},

	"BLPOP":      {writes: butLast, changed: byReply, blocks: always},
	"BRPOP":      {writes: butLast, changed: byReply, blocks: always},
	"BZPOPMIN":   {writes: butLast, changed: byReply, blocks: always},
	"BZPOPMAX":   {writes: butLast, changed: byReply, blocks: always},
	"BZMPOP":     {writes: afterTimeout, changed: byReply, blocks: always},
	"BRPOPLPUSH": {writes: two, changed: byReply, blocks: always},
	"BLMOVE":     {writes: two, changed: byReply, blocks: always},
}

// effectOf completes what the table says of a command.
func (t *tracking) effectOf(cmd string) effect {
	e, ok := effects[cmd]
	switch {
	case ok:
	case t.srv.IsReadOnlyCommand(cmd):
		e.reads = first
	default:
		e.writes = first
	}
	if e.reads == nil {
		e.reads = none
	}
	if e.writes == nil {
		e.writes = none
	}
	if e.changed == nil {
		e.changed = func(c *outcome) bool { return c.before.exists || c.after.exists }
	}
	return e
}
