package l2

import (
	"strings"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// ablations are the rules that live in the scripts, and what is cut from them when a test takes one out.
var ablations = []struct {
	rule      ablate.Rule
	with, cut string
}{
	{ablate.FillNeedsLease, "if get(KEYS[2]) ~= 'R' .. ARGV[1] then\n  return 'lease_lost'\nend\n", ""},
	{ablate.FillSameIncarnation, "if incarnation(KEYS[3]) ~= ARGV[2] then\n  return 'incarnation_changed'\nend\n", ""},
	{ablate.FillSameIncarnation, "string.sub(ARGV[3], 1, 8) .. ARGV[2] ..",
		"string.sub(ARGV[3], 1, 8) .. incarnation(KEYS[3]) .."},
	{ablate.ApplyDropsLease, "  end\n  unlease(lease)\nend", "  end\nend"},
	{ablate.SetDropsLease, "  unlease(KEYS[2])\n  return 1\n", "  return 1\n"},
	{ablate.SetOverValue, "if v and ARGV[1] ~= NONE and kind(KEYS[1], v)",
		"if not v or ARGV[1] ~= NONE and kind(KEYS[1], v)"},
	{ablate.SetSameIncarnation, " and string.sub(v, 9, 16) == bucket and less(v, 17, ARGV[1], 1)",
		" and less(v, 17, ARGV[1], 1)"},
	{ablate.RestoreUndoubted, " and not doubted and", " and"},
	{ablate.BatchFrom,
		"if not w or string.sub(w, 1, 16) ~= string.sub(from, 1, 16) or before(w, 17, from, 17) then", "if not w then"},
	{ablate.BatchPart, "or before(w, 17, from, 17) then", "or less(w, 17, from, 17) then"},
	{ablate.RoundOnce, "if (round(KEYS[1]) or '') ~= ARGV[1] then\n  return 0\nend\n", ""},
	{ablate.RoundToken, " .. ARGV[1] .. ", " .. string.rep('\\1', 8) .. "},
	{ablate.RoundBuckets, "if w == '' or string.sub(w, 1, 16) ~= string.sub(need, 1, 16) or before(w, 17, need, 17) then",
		"if false then"},
}

// ablated is a script without the rule that is taken out now, if that is one of its own.
func ablated(src string) string {
	for _, a := range ablations {
		if ablate.Out(a.rule) {
			src = strings.ReplaceAll(src, a.with, a.cut)
		}
	}
	return src
}
