package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tripline/tripline/alerting"
)

// Verdict says how an incident of a replay and of the live run compare.
type Verdict string

// The verdicts.
const (
	Same     Verdict = "same"
	OnlyLive Verdict = "only live" // the replay does not have it
	OnlyNow  Verdict = "only now"  // the live run did not have it
	Differs  Verdict = "differs"
)

// Comparison is one incident in both runs.
type Comparison struct {
	Verdict Verdict            `json:"verdict"`
	ID      string             `json:"id"`
	Live    *alerting.Incident `json:"live,omitempty"`
	Now     *alerting.Incident `json:"now,omitempty"`
	Fields  []string           `json:"fields,omitempty"` // what differs
}

// incident returns the one that there is, Now's if there are both.
func (c Comparison) incident() *alerting.Incident { return cmp.Or(c.Now, c.Live) }

// compare compares the incidents of a replay with those that the live run had
// committed before and after the log was read: what it decided meanwhile is in
// only one of them.
func compare(now, before, after map[string]alerting.Incident) []Comparison {
	var list []Comparison
	for id, n := range now {
		b, inBefore := before[id]
		a, inAfter := after[id]
		if !inAfter && inBefore {
			a, inAfter = b, true // deleted meanwhile
		}
		c := Comparison{ID: id, Now: &n}
		switch {
		case !inAfter:
			c.Verdict = OnlyNow
		case inBefore && n.Version == b.Version:
			c.Live = &b
		default:
			c.Live = &a
		}
		if c.Live != nil {
			c.Verdict = Same
			between := n.Version > b.Version && n.Version < a.Version // that version is not stored any more
			if c.Fields = fields(*c.Live, n); len(c.Fields) > 0 && !between {
				c.Verdict = Differs
			}
		}
		list = append(list, c)
	}
	for id, b := range before {
		if _, ok := now[id]; !ok {
			list = append(list, Comparison{Verdict: OnlyLive, ID: id, Live: &b})
		}
	}
	slices.SortFunc(list, func(a, b Comparison) int {
		return cmp.Or(a.incident().Since.Compare(b.incident().Since), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// fields lists what differs, by the names of the stored form.
func fields(live, now alerting.Incident) []string {
	a, b := map[string]string{}, map[string]string{}
	flatten("", plain(live), a)
	flatten("", plain(now), b)
	names := maps.Clone(a)
	maps.Copy(names, b)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was, is := a[name], b[name]; was != is {
			list = append(list, fmt.Sprintf("%s: live %s, now %s", name, cmp.Or(was, "none"), cmp.Or(is, "none")))
		}
	}
	return list
}

// plain returns i as JSON has it; it is plain data, which cannot fail.
func plain(i alerting.Incident) (v any) {
	b, err := json.Marshal(i)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		panic(err)
	}
	return v
}

func flatten(name string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if name != "" {
				k = name + "." + k
			}
			flatten(k, e, into)
		}
	case []any:
		for i, e := range v {
			flatten(name+"["+strconv.Itoa(i)+"]", e, into)
		}
	default:
		b, _ := json.Marshal(v) // came from JSON
		into[name] = string(b)
	}
}

// within tells whether an incident concerns the time from a moment on.
func within(i alerting.Incident, from time.Time) bool { return i.Open() || !i.Ended.Before(from) }
