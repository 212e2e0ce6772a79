//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// The heartbeat stops while the disk is full, and goes on when it has room.
func TestHeartbeatDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	tg, beats := newTarget(t), newBeats(t)
	listen := freePort(t)
	text := deliveryConfig(tg, listen, "  - {name: console, log: {}}\n")
	writeFile(t, filepath.Join(dir, "config.yaml"), text+fmt.Sprintf("heartbeat: {url: %q, every: 1s}\n", beats.secret()))
	p := start(t, dir, nil, "run")
	waitFor(t, patience, "three heartbeats", func() bool { return beats.n.Load() >= 3 })
	free := fill(t, dir)
	waitFor(t, 2*patience, "the end of the heartbeat", func() bool {
		_, health := get(t, "http://"+listen+"/health")
		return strings.Contains(health, "no heartbeat is sent: the log takes no entries")
	})
	free()
	stopped := beats.n.Load()
	waitFor(t, 2*patience, "the heartbeat again", func() bool { return beats.n.Load() > stopped })
	p.stop()
}
