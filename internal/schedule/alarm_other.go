//go:build !linux

package schedule

func newAlarm() alarm { return newTimer() }
