package main

import (
	"context"
	"errors"
	"net"
	"net/url"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/journal"
)

// recentBatches is how far back the page reads the log at start: enough for
// the last results of every check.
const recentBatches = 2000

// followPage keeps what the page shows up to date.
func (m *monitor) followPage(ctx context.Context) error {
	from := uint64(1)
	if last := m.log.Last(); last > recentBatches {
		from = last - recentBatches
	}
	return m.follow(ctx, from, func(b journal.Batch[checks.Entry]) { m.page.Apply(b.Seq, b.Entries) })
}

// followIncidents hands the page the incidents whenever one changes.
func (m *monitor) followIncidents(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-m.evaluator.Ready():
	}
	for ctx.Err() == nil {
		changes, unsubscribe := m.evaluator.Subscribe()
		m.page.Incidents(m.evaluator.Incidents())
		for open := true; open; {
			select {
			case <-ctx.Done():
				unsubscribe()
				return nil
			case _, open = <-changes: // closed when this reader was too slow: subscribe anew
				m.page.Incidents(m.evaluator.Incidents())
			}
		}
		unsubscribe()
	}
	return nil
}

// followConsole prints changes of status from now on.
func (m *monitor) followConsole(ctx context.Context) error {
	return m.follow(ctx, m.firstSeq, func(b journal.Batch[checks.Entry]) {
		m.console.apply(b.Entries)
		m.consoleSeq.Store(b.Seq)
	})
}

// follow calls f with every batch from the sequence number from on until ctx ends.
func (m *monitor) follow(ctx context.Context, from uint64, f func(journal.Batch[checks.Entry])) error {
	err := m.log.Follow(ctx, from, func(_ context.Context, b journal.Batch[checks.Entry]) error {
		f(b)
		return nil
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// link is where the page shows an incident, "" if it has no address for people.
// What is told directly is no incident of the page, which shows the trouble itself.
func (m *monitor) link(i alerting.Incident) string {
	page := m.config().PageURL()
	switch {
	case page == "":
		return ""
	case len(i.Findings) > 0 && i.Findings[0].Kind == "log":
		return page + "/"
	}
	return page + "/incidents/" + url.PathEscape(i.ID)
}

// publicHost is the host under which people reach the page, "" if nobody has
// said one.
func (m *monitor) publicHost() string {
	u, err := url.Parse(m.config().HTTP.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// dialable makes an address to listen on one to connect to.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
