package wsprobe

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/checks/probe"
)

func TestEventLog(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, c := range []struct {
		name   string
		events Events
		came   string // one message per word, with :key
		want   string // what the log says
	}{
		{"in order", Events{Ordered: true, NoDuplicates: true}, "a b c", "complete"},
		{"another order", Events{Ordered: true}, "a c b", "the events came in the order a, c, b; want a, b, c"},
		{"any order", Events{}, "c a b", "complete"},
		{"missing", Events{Ordered: true}, "a c", "b did not come in 1s (seen: a, c)"},
		{"none", Events{}, "", "a, b, c did not come in 1s (none of them came)"},
		{"others", Events{}, "x a y c", "b did not come in 1s (seen: a, c; other messages: 2, the last one y)"},
		{"twice", Events{NoDuplicates: true}, "a a b c", "a came twice (seen: a)"},
		{"twice is fine", Events{}, "a a b c", "complete"},
		{"twice with keys", Events{NoDuplicates: true}, "a:1 a:2 b c", "complete"},
		{"the same key twice", Events{NoDuplicates: true}, "a:1 a:2 a:1", "a came twice (seen: a)"},
		{"the same key of another event", Events{NoDuplicates: true}, "a:1 b:1 c:1", "complete"},
		{"at least two", Events{AtLeast: 2}, "x c a", "complete"},
		{"at least two, in order", Events{AtLeast: 2, Ordered: true}, "c a", "the events came in the order c, a; want a, b, c"},
		{"less than two", Events{AtLeast: 2}, "b", "1 of the events came in 1s, want at least 2; missing: a, c (seen: b)"},
		{"one that is two", Events{}, "a ab c", "complete"},
	} {
		c.events.Names = names
		l := newEventLog(&c.events)
		got := ""
		for msg := range strings.FieldsSeq(c.came) {
			word, key, _ := strings.Cut(msg, ":")
			hits, _ := recognise(names)(t.Context(), []byte(word), nil)
			if len(hits) == 0 {
				l.stranger([]byte(word))
			}
			if again := l.add(hits, key); again != "" {
				got = l.duplicate(again)
				break
			}
		}
		switch {
		case got != "":
		case !l.complete():
			got = l.missing(nil, time.Second)
		case l.disorder() != "":
			got = l.disorder()
		default:
			got = "complete"
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// An event that comes again after all have come is a duplicate too.
func TestLateDuplicate(t *testing.T) {
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		for _, m := range []string{"a", "b", "noise", "b"} {
			_ = c.Write(ctx, websocket.MessageText, []byte(m))
		}
		echo(ctx, c)
	})
	events := &Events{Names: []string{"a", "b"}, NoDuplicates: true, Recognise: recognise([]string{"a", "b"})}
	o := Options{Steps: []Step{{Name: "step 1", Events: events}}, Settle: 2 * time.Second}
	wantClass(t, try(t, 10*time.Second, addr, o), probe.FlowDuplicate, "b came twice (seen: a, b)")
	o.Steps[0].Events = &Events{Names: events.Names, Recognise: events.Recognise}
	o.Settle = 0
	wantClass(t, try(t, 10*time.Second, addr, o), probe.OK, "")
}

// Pings that come between events are answered: this server goes on only then.
func TestEventsAndServerPings(t *testing.T) {
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		reading := c.CloseRead(ctx)
		for _, m := range []string{"a", "b"} {
			if c.Ping(ctx) != nil {
				return
			}
			_ = c.Write(ctx, websocket.MessageText, []byte(m))
		}
		<-reading.Done()
	})
	events := &Events{Names: []string{"a", "b"}, Ordered: true, Recognise: recognise([]string{"a", "b"})}
	wantClass(t, try(t, 10*time.Second, addr, Options{Ping: true, Steps: []Step{{Name: "step 1", Events: events}}}), probe.OK, "")
}

// A flood of other messages does not keep a step alive beyond its deadline.
func TestEventsDeadline(t *testing.T) {
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if c.Write(ctx, websocket.MessageText, []byte("noise")) != nil {
				return
			}
		}
	})
	events := &Events{Names: []string{"a"}, Recognise: recognise([]string{"a"})}
	start := time.Now()
	o := try(t, 20*time.Second, addr, Options{Steps: []Step{{Name: "step 1 (wait)", Events: events, Within: 200 * time.Millisecond}}})
	wantClass(t, o, probe.FlowMissing, "step 1 (wait): a did not come in ")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v, within is 200ms", took)
	}
}
