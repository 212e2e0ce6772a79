package picture

import (
	"strings"
	"testing"
	"time"
)

// BenchmarkPNG draws 60 results.
func BenchmarkPNG(b *testing.B) {
	w := Window{"ws · ws-404", "not_found 3 of 60 attempts (5%) in 1h, limit 1%", story(strings.Repeat("uuuuuuuuuuuuuduuuuuf", 3), time.Minute, 1200*time.Microsecond), time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := PNG(w); err != nil {
			b.Fatal(err)
		}
	}
}
