package main

import (
	"errors"
	"io"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/config"
)

// closers are the probers that hold something open between runs, by check.
type closers map[string]io.Closer

// replace makes c those of next: what the runner does not go on with is closed.
func (c closers) replace(old, next *config.Config) error {
	wanted := map[string]checks.Check{}
	for _, check := range next.Checks {
		wanted[check.Name] = check
	}
	var errs []error
	for name, closer := range c {
		if _, ok := wanted[name]; !ok || old.Fingerprints[name] != next.Fingerprints[name] {
			errs = append(errs, closer.Close())
			delete(c, name)
		}
	}
	for name, check := range wanted {
		if closer, ok := check.Prober.(io.Closer); ok && c[name] == nil {
			c[name] = closer
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
