package alerting

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// worsening are rules by which a failure is a ticket, and a page if it lasts.
func worsening() []Rule {
	return []Rule{{Name: "any", Rate: &Rate{Of: "any", Over: 10 * minute, Above: share("0%")}}, downRule(2)}
}

func stormPlay(rules []Rule, list []Subject) *player {
	e := NewEngine(rules, list)
	e.SetPolicy(Policy{StormGroups: 1, StormWithin: time.Minute.Milliseconds()})
	return &player{e: e}
}

// newest returns the newest version of the incident of a group.
func (p *player) newest(t *testing.T, group string) Incident {
	t.Helper()
	for _, c := range slices.Backward(p.all) {
		if c.Incident.Group == group {
			return c.Incident
		}
	}
	t.Fatalf("no incident %q", group)
	return Incident{}
}

// TestStormWorsens lets a part of a storm of tickets become a page.
func TestStormWorsens(t *testing.T) {
	_, lines := single(3)
	p := stormPlay(worsening(), subjects(lines))
	want(t, "first", p.results(0, "5", "c000", "c001", "c002"), "opened c000")
	want(t, "settled", p.tick(2*time.Second), "released storm")
	if s := p.newest(t, stormKey); s.Severity != Ticket {
		t.Fatalf("the storm is a %s, want a ticket", s.Severity)
	}
	want(t, "a part is a page", p.results(10*time.Second, "5", "c001"), "grew storm")
	s := p.newest(t, stormKey)
	if s.Severity != Page || s.Findings[0].Severity != Page || s.Changed != "now page" {
		t.Errorf("the storm is a %s by %q, want a page", s.Severity, s.Changed)
	}
	want(t, "another part is a page", p.results(12*time.Second, "5", "c002"))

	p = stormPlay(worsening(), subjects(lines))
	p.results(0, "5", "c000", "c001", "c002")
	p.tick(2 * time.Second)
	p.command(t, 3*time.Second, CommandSilence, "id", "s", "for", "1m", "check", "c001")
	want(t, "a silenced part is a page", p.results(10*time.Second, "5", "c001"))
	want(t, "the silence ends", p.tick(64*time.Second), "grew storm")
}

// TestStormParts lists of what groups, labels and severities a storm is.
func TestStormParts(t *testing.T) {
	_, lines := single(4)
	list := subjects(lines)
	list[1].Labels = map[string]string{"team": "web"}
	list[2].Labels = map[string]string{"team": "api"}
	p := stormPlay(worsening(), list)
	p.results(0, "5", "c000", "c001", "c002")
	p.tick(2 * time.Second)
	parts := []Part{{"c001", Ticket, list[1].Labels}, {"c002", Ticket, list[2].Labels}}
	if diff := cmp.Diff(parts, p.newest(t, stormKey).Parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	p.results(10*time.Second, "5", "c001")
	told := p.newest(t, stormKey).Told
	want(t, "a part that joins is told later", p.results(20*time.Second, "5", "c003"))
	want(t, "and one that worsens when the storm is a page is not told again", p.results(21*time.Second, "5", "c002"))
	parts = []Part{{"c001", Page, list[1].Labels}, {"c002", Page, list[2].Labels}, {"c003", Ticket, nil}}
	s := p.newest(t, stormKey)
	if diff := cmp.Diff(parts, s.Parts); diff != "" || s.Told != told || s.Version <= told+1 {
		t.Errorf("version %d of which %d is told, parts (-want +got):\n%s", s.Version, s.Told, diff)
	}

	names, lines := single(mostParts + 2)
	p = stormPlay(worsening(), subjects(lines))
	p.results(0, "5", names...)
	if s := p.newest(t, stormKey); len(s.Parts) != mostParts || !s.MoreParts {
		t.Errorf("%d parts, more: %t, want %d", len(s.Parts), s.MoreParts, mostParts)
	}
}
