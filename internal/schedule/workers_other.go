//go:build !unix

package schedule

func openFiles() uint64 { return 0 }
