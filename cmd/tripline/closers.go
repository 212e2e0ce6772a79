package main

import (
	"errors"
	"io"
	"sync"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/config"
)

// closers are the probers that hold something open between runs. The zero value
// is empty.
type closers struct {
	mu   sync.Mutex           // the end of the program may meet a reload
	open map[string]io.Closer // by check
}

// replace makes c those of next: what the runner does not go on with is closed.
func (c *closers) replace(old, next *config.Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[string]io.Closer{}
	}
	wanted := map[string]checks.Check{}
	for _, check := range next.Checks {
		wanted[check.Name] = check
	}
	var errs []error
	for name, closer := range c.open {
		if _, ok := wanted[name]; !ok || old.Fingerprints[name] != next.Fingerprints[name] {
			errs = append(errs, closer.Close())
			delete(c.open, name)
		}
	}
	for name, check := range wanted {
		if closer, ok := check.Prober.(io.Closer); ok && c.open[name] == nil {
			c.open[name] = closer
		}
	}
	return errors.Join(errs...)
}

// closeProbers closes what the probers of list hold open.
func closeProbers(list []checks.Check) error {
	var errs []error
	for _, check := range list {
		if closer, ok := check.Prober.(io.Closer); ok {
			errs = append(errs, closer.Close())
		}
	}
	return errors.Join(errs...)
}
