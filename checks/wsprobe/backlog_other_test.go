//go:build !linux

package wsprobe

import "testing"

// fullBacklog cannot be had here: other kernels answer in other ways.
func fullBacklog(*testing.T) string { return "" }
