package config

import (
	"fmt"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
)

// shownSlots is how many of its next slots a plan shows of each check.
const shownSlots = 3

// Plan says what a Config will do: what runs when, which rules apply to which
// checks, who is told, what is off and why. Times are in the zone of now.
func (c *Config) Plan(now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { // a strings.Builder cannot fail
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	title := func(format string, args ...any) {
		_ = w.Flush()
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, format+"\n", args...)
	}
	title("%s", c.totals())
	title("Checks, from location %s, with their next %d runs (%s):", c.Location, shownSlots, now.Format("MST"))
	for i, k := range c.Checks {
		line("  "+k.Name, k.Kind, k.Endpoint.URL, c.when[i], attempts(k.Timeout, k.Confirm), slots(k.Schedule, now))
	}
	title("Rules, with the checks they apply to:")
	for _, r := range c.Rules {
		line("  "+r.Name, r.Levels(), ruleText(r), c.applies(r))
	}
	if len(c.Rules) == 0 {
		line("  none")
	}
	if len(c.maintenance) > 0 {
		title("Maintenance, with its next %d windows (%s):", shownSlots, now.Format("MST"))
		for i, m := range c.maintenance {
			line("  "+m.Name, c.covers(m.Select), "for "+m.For.String(), slots(c.Policy.Windows[i].Starts, now))
		}
	}
	title("Who is told:")
	for _, n := range c.Notifiers {
		state := "on"
		if n.Off != "" {
			state = "off: " + n.Off
		}
		line("  "+n.Name, n.Kind, state, routeText(n))
	}
	if len(c.Notifiers) == 0 {
		line("  nobody")
	}
	if h := c.Heartbeat; h != nil {
		state := "every " + text(h.Every) + ", while this monitor is well"
		if h.Off != "" {
			state = "off: " + h.Off
		}
		line("  heartbeat", h.Method, state)
	}
	if m := c.CloudMonitoring; m != nil {
		title("Metrics:")
		state := "project " + m.Project
		if m.Off != "" {
			state = "off: " + m.Off
		}
		line("  Cloud Monitoring", state)
		if c.cost != "" {
			line("  estimate", c.cost)
		}
	}
	title("This process:")
	line("  page and API", c.HTTP.Listen, c.exposure())
	if c.HTTP.URL != "" {
		line("  for people", c.HTTP.URL, "messages link to it")
	}
	line("  data", c.Data.Dir, fmt.Sprintf("results kept for %s, at most %s", c.Data.Keep, c.Data.MaxSize))
	if c.Canaries != nil {
		line("  canaries", c.Canaries.String(), "asked when a target does not answer")
	}
	if len(c.Warnings) > 0 {
		title("Warnings:")
		for _, text := range c.Warnings {
			line("  " + text)
		}
	}
	_ = w.Flush()
	return b.String()
}

// totals is the plan in one line.
func (c *Config) totals() string {
	on, hosts := 0, map[string]bool{}
	for _, n := range c.Notifiers {
		if n.Off == "" {
			on++
		}
	}
	for _, k := range c.Checks {
		hosts[k.Endpoint.Host] = true
	}
	return fmt.Sprintf("%s of %s, %s, %d of %s on. Config %s.", count(len(c.Checks), "check"), count(len(hosts), "host"),
		count(len(c.Rules), "rule"), on, count(len(c.Notifiers), "notifier"), c.Hash)
}

// exposure says what of the page others can see.
func (c *Config) exposure() string {
	switch {
	case c.HTTP.Token != "":
		return "with the token"
	case isLoopback(c.HTTP.Listen):
		return "for this machine only"
	default:
		return "only /health, since there is no http.token"
	}
}

func attempts(timeout time.Duration, confirm int) string {
	s := "timeout " + text(timeout)
	if confirm > 0 {
		s += ", confirmed by " + count(confirm, "re-probe")
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// slots shows the next slots of a schedule: the time of day, with the date
// unless it is within a day.
func slots(s interface{ Next(time.Time) time.Time }, now time.Time) string {
	var out []string
	for at := now; len(out) < shownSlots; {
		next := s.Next(at)
		if next.IsZero() {
			break
		}
		layout := time.TimeOnly
		if next.Sub(now) >= 24*time.Hour {
			layout = "Mon 2 Jan 15:04"
		}
		if next.Sub(now) >= 300*24*time.Hour {
			layout = "2 Jan 2006 15:04"
		}
		out = append(out, next.In(now.Location()).Format(layout))
		at = next
	}
	return strings.Join(out, ", ")
}

// applies names the checks that a rule applies to.
func (c *Config) applies(r alerting.Rule) string { return c.covers(r.Select) }

func (c *Config) covers(sel alerting.Select) string {
	var names []string
	for _, s := range c.Subjects {
		if selects(sel, s) {
			names = append(names, s.Name)
		}
	}
	if len(names) == len(c.Subjects) {
		return "all checks"
	}
	return someOf(names, 8)
}

// ruleText is what a rule looks at, in the words of the file: the one kind
// that is set, with its settings.
func ruleText(r alerting.Rule) string {
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.Pointer || f.IsNil() {
			continue
		}
		var n yaml.Node
		if err := n.Encode(f.Interface()); err != nil {
			continue
		}
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		var settings []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			settings = append(settings, n.Content[i].Value+" "+n.Content[i+1].Value)
		}
		return strings.TrimSpace(key + " " + strings.Join(settings, ", "))
	}
	return ""
}
