package journal

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestEvidence(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	check := NewKey("evidence of", "a check")
	if _, _, err := j.NewestEvidence(t.Context(), check); !errors.Is(err, ErrNotFound) {
		t.Errorf("newest of nothing: %v, want %v", err, ErrNotFound)
	}
	start := time.Now()
	for i, slot := range []string{"10:00", "10:01", "10:00"} {
		if err := j.PutEvidence(t.Context(), NewKey("evidence of", "a check", slot), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.PutEvidence(t.Context(), NewKey("evidence of", "another"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	verify := func() {
		t.Helper()
		data, at, err := j.NewestEvidence(t.Context(), check)
		if string(data) != "2" || err != nil || at.Before(start.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("newest: %s at %v, %v; want 2", data, at, err)
		}
		if data, _, err = j.Evidence(t.Context(), NewKey("evidence of", "a check", "10:01")); string(data) != "1" || err != nil {
			t.Errorf("by key: %s, %v; want 1", data, err)
		}
		if _, _, err = j.Evidence(t.Context(), check); !errors.Is(err, ErrNotFound) {
			t.Errorf("by a key that is only a prefix: %v, want %v", err, ErrNotFound)
		}
	}
	verify()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir})
	verify()

	if err := j.PutEvidence(t.Context(), check, make([]byte, MaxEvidence)); err != nil {
		t.Errorf("evidence of the largest size: %v", err)
	}
	if err := j.PutEvidence(t.Context(), check, make([]byte, MaxEvidence+1)); err == nil {
		t.Error("larger evidence is not refused")
	}
	if err := j.PutEvidence(t.Context(), Key{}, nil); err == nil {
		t.Error("evidence without a key is not refused")
	}
}

// The oldest evidence gives way. The log does not shrink for it, nor the other way round.
func TestEvidenceLimit(t *testing.T) {
	j := open(t, Options{EvidenceMaxBytes: 100 << 10})
	for i := range 20 {
		if err := j.PutEvidence(t.Context(), NewKey("e", fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, 10<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := j.Evidence(t.Context(), NewKey("e", "0")); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest: %v, want %v", err, ErrNotFound)
	}
	if data, _, err := j.NewestEvidence(t.Context(), NewKey("e")); err != nil || data[0] != 19 {
		t.Errorf("the newest: %v", err)
	}
}
