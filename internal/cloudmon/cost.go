package cloudmon

import (
	"fmt"
	"time"
)

// The assumptions of Estimate. Cloud Monitoring bills user-defined metrics by
// the bytes ingested, whatever the labels: the volume of a point is 8 bytes
// for a number and 80 for a distribution. List prices in US dollars of "Google
// Cloud's operations suite pricing" (cloud.google.com/stackdriver/pricing), in
// force since 2018-07-01 and read in 2026-11: the first 150 MiB a month of a
// billing account are free.
const (
	bytesPerNumber       = 8
	bytesPerDistribution = 80
	pricesRead           = "2026-11"

	freeMiB   = 150
	tier1MiB  = 100_000
	tier2MiB  = 250_000
	price1USD = 0.2580 // per MiB, up to tier1MiB
	price2USD = 0.1510 // up to tier2MiB
	price3USD = 0.0610 // above

	minutesPerMonth = 730 * 60
	// classesPerCheck is how many classes a check is assumed to show within
	// any 25 hours: ok and one kind of failure.
	classesPerCheck = 2
)

// Planned is what Estimate has to know of one check.
type Planned struct {
	Check    string
	Group    string        // empty: the check's name
	Every    time.Duration // 0: a minute
	Recorded int           // how many numbers it records, such as ping_rtt
}

// Cost is what an export amounts to.
type Cost struct {
	Series  int     // active ones
	Samples float64 // points a month
	MiB     float64 // ingested a month
	USD     float64 // a month
}

// Estimate returns what exporting these checks amounts to in a month of 730
// hours, with nothing else on the bill of the account.
func Estimate(c Config, planned []Planned) Cost {
	var cost Cost
	var bytes float64
	add := func(series int, every time.Duration, size int) {
		n := float64(minutesPerMonth)
		if every > time.Minute {
			n /= every.Minutes()
		}
		n *= float64(series)
		cost.Series += series
		cost.Samples += n
		bytes += n * float64(size)
	}
	latency := func(keep string, every time.Duration) {
		switch keep {
		case latencyMean:
			add(1, every, bytesPerNumber)
		case latencyDistribution: // cumulative: repeated every minute
			add(1, 0, bytesPerDistribution)
		}
	}
	groups := map[string]time.Duration{} // with their shortest interval
	for _, p := range planned {
		add(classesPerCheck, 0, bytesPerNumber)
		add(1+p.Recorded, p.Every, bytesPerNumber)
		latency(c.Latency.PerCheck, p.Every)
		name := p.Group
		if name == "" {
			name = p.Check
		}
		if every, ok := groups[name]; !ok || p.Every < every {
			groups[name] = p.Every
		}
	}
	for _, every := range groups {
		latency(c.Latency.PerGroup, every)
	}
	add(5, 0, bytesPerNumber) // heartbeat and the exporter's own
	cost.MiB = bytes / (1 << 20)
	cost.USD = price(cost.MiB)
	return cost
}

func price(mib float64) float64 {
	between := func(from, to float64) float64 { return max(0, min(mib, to)-from) }
	return between(freeMiB, tier1MiB)*price1USD + between(tier1MiB, tier2MiB)*price2USD + max(0, mib-tier2MiB)*price3USD
}

// String says it in one line, with what was assumed.
func (c Cost) String() string {
	return fmt.Sprintf("%d series, %.1f million samples and %.0f MiB a month: about $%.0f a month"+
		" (assumed: list price $%.4f per MiB after %d MiB free as of %s, %d bytes a number and %d a distribution, %d result classes a check, no other metrics on the account)",
		c.Series, c.Samples/1e6, c.MiB, c.USD, price1USD, freeMiB, pricesRead, bytesPerNumber, bytesPerDistribution, classesPerCheck)
}
