// Package journal is the durable memory of the monitor: the log of all entries, the state, and the evidence. It is the only
// package that knows NATS JetStream, which it runs embedded, without any open port; nothing of NATS shows in its API. It is
// generic over the type of the entries and imports nothing else of the project.
//
// # What is where
//
// Everything lives below Options.Dir, for one process at a time:
//
//	LOCK         locked by the process that has the directory open; names its pid, host and start
//	PROBE        exists for a moment when the disk is tried out
//	standalone/  the store of the embedded server; never start a server with cluster options on it: that deletes the streams
//
// There are three streams:
//
//	LOG       subject log. One message for each batch of entries, as Encode wrote them (default: a JSON array), S2-compressed.
//	          Header At: when the batch was made, in ns since 1970. The sequence of the message is Batch.Seq.
//	          Limits: Options.MaxAge, Options.MaxBytes; the oldest go first.
//	EVIDENCE  subjects evidence.<key>, one message for each key, at most 16 KiB. Limit: Options.EvidenceMaxBytes.
//	CTRL      subjects ctrl.<key>, one message for each key: the state. The sequence is the revision. Header Tripline-Commit: the
//	          commit that wrote it. KV-Operation: PURGE marks a deleted key; the marker goes after a day. No limits.
//
// # What holds
//
// An entry that a follower has seen, a commit and a piece of evidence that returned nil are on the disk, synced: they survive
// kill -9 and power loss, and are there once. A commit is there whole or not at all, also for those who read at the time.
// Followers get every batch once, in order, never before it is durable; Batch.Missing tells what retention took and what does
// not decode. Append never blocks: when the disk takes nothing, entries wait in memory (LogOptions.Buffer), and of those that
// do not fit the oldest become one gap, which LogOptions.Overflow makes and the log then shows. What was only in memory is lost
// with the process; that was never said to be durable.
//
// The log has one writer. Each batch is accepted only directly behind the last one known to be durable, and an attempt whose
// answer was lost is looked up before it is repeated; so retrying never stores anything twice.
//
// # When the disk is full
//
// Below Options.MinFree the log and the evidence stop by themselves, and leave the rest to the state. If the disk does run full,
// the server refuses writes until it is started again: the journal does that as soon as the disk takes writes (repair.go),
// behind the same API; followers and watchers go on where they were. LogHealth says since when and why the log is stuck.
//
// # Reading by hand
//
// Copy the directory standalone, so that nothing can happen to it, and use the tools of NATS on the copy:
//
//	cp -r DIR/standalone /tmp/copy && nats-server -js -sd /tmp/copy -a 127.0.0.1 &
//	nats stream ls
//	nats stream view LOG
//	nats stream get LOG 42
//	nats stream subjects CTRL
//	nats stream get CTRL --last-for ctrl.incident.checkout
//
// A key in a subject is its segments joined by dots, every byte other than A-Z a-z 0-9 - _ written as %XX.
//
// # Extending it
//
// A new kind of entry or record needs nothing here: what is in them is the caller's. Whoever changes the form of a stored
// record lets Decode return ErrNewer for versions it does not know. A new stream is one more item in streams (engine.go).
package journal
