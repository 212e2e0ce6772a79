package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// scanChunk is how many bytes the server sends at a time, scanWindow how many it sends without hearing that they arrived.
const (
	scanChunk  = 128 << 10
	scanWindow = 4 << 20
)

// Scan calls f with the stored form of every batch that was written since a time, as far as it is kept and durable when Scan is
// called, in order and each once: as Encode wrote it, and when. Somewhat older ones may come first; the zero time means all.
// data is good until f returns. Scan returns f's or ctx's error, or ErrClosed.
//
// It is for reading much of the log at once: then it takes a fifth of the CPU of Follow where batches are small, since the
// server sends its backup of the stream instead of single messages. Writing goes on meanwhile.
func (l *Log[T]) Scan(ctx context.Context, since time.Time, f func(seq uint64, at time.Time, data []byte) error) error {
	upTo := l.Last()
	if upTo == 0 {
		return nil
	}
	from := uint64(1)
	if !since.IsZero() {
		var kept uint64 // how many batches a backup would have
		err := l.j.try(ctx, func(ctx context.Context, e *engine) (err error) {
			from, kept, err = e.writtenSince(ctx, since)
			return err
		})
		if err != nil {
			return fmt.Errorf("scan the log: %w", err)
		}
		if rest := upTo + 1 - min(from, upTo+1); 4*rest < kept || rest < readMessages {
			return l.scanFrom(ctx, from, upTo, f)
		}
	}
	return l.scanAll(ctx, from, upTo, f)
}

// scanFrom reads some messages after the other.
func (l *Log[T]) scanFrom(ctx context.Context, next, upTo uint64, f func(seq uint64, at time.Time, data []byte) error) error {
	for next <= upTo {
		var msgs []logMessage
		err := l.j.insist(ctx, func(ctx context.Context, e *engine) (err error) {
			msgs, err = e.readLog(ctx, next, readBytes)
			return err
		})
		if err != nil {
			return fmt.Errorf("scan the log from %d: %w", next, err)
		}
		if len(msgs) == 0 {
			return nil
		}
		for _, m := range msgs {
			if m.seq > upTo {
				return nil
			}
			if err := f(m.seq, m.time, m.data); err != nil {
				return err
			}
			next = m.seq + 1
		}
	}
	return nil
}

// scanAll reads the server's backup.
func (l *Log[T]) scanAll(ctx context.Context, from, upTo uint64, f func(seq uint64, at time.Time, data []byte) error) error {
	e, err := l.j.current(ctx)
	if err != nil {
		return fmt.Errorf("scan the log: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	received := make(chan struct{})
	go func() {
		defer close(received)
		w.CloseWithError(e.backup(ctx, streamLog, w)) // nil is the end
	}()
	err = scanBackup(bufio.NewReaderSize(s2.NewReader(r), 1<<18), func(m logMessage) error {
		switch {
		case m.seq > upTo:
			return errScanned
		case m.seq < from:
			return nil
		}
		return f(m.seq, m.time, m.data)
	})
	cancel()
	_ = r.CloseWithError(errScanned) // always nil
	<-received
	if err != nil && !errors.Is(err, errScanned) {
		return fmt.Errorf("scan the log: %w", err)
	}
	return nil
}

// writtenSince returns the sequence of the first batch that the server stored at a time or later, and how many are kept in all.
func (e *engine) writtenSince(ctx context.Context, at time.Time) (from, kept uint64, err error) {
	s, err := e.js.Stream(ctx, streamLog)
	if err != nil {
		return 0, 0, err
	}
	c, err := e.js.CreateConsumer(ctx, streamLog, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return 0, 0, err
	}
	info, st := c.CachedInfo(), s.CachedInfo().State
	if err := e.js.DeleteConsumer(ctx, streamLog, info.Name); err != nil {
		return 0, 0, err
	}
	return st.LastSeq + 1 - min(info.NumPending, st.LastSeq), st.Msgs, nil
}

var errScanned = errors.New("all was read")

// backup writes the server's backup of a stream to w: the protocol of STREAM.SNAPSHOT (NATS ADR-28), without consumers.
func (e *engine) backup(ctx context.Context, stream string, w io.Writer) error {
	inbox := e.nc.NewInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()             // fails only when the connection is gone, and the subscription with it
	if err := sub.SetPendingLimits(-1, -1); err != nil { // the window bounds it
		return err
	}
	body, err := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": scanChunk, "window_size": scanWindow})
	if err != nil {
		return err
	}
	reply, err := e.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: "$JS.API.STREAM.SNAPSHOT." + stream, Data: body})
	if err != nil {
		return err
	}
	var answer struct {
		Error *refusal `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return fmt.Errorf("answer of the embedded server %q: %w", reply.Data, err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get(hdrStatus); status != "" && status != "204" {
				return statusError(m)
			}
			return nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return err
		}
		if m.Reply != "" {
			if err := e.nc.Publish(m.Reply, nil); err != nil {
				return err
			}
		}
	}
}

// scanBackup calls f with the messages of a backup. A backup that ends early is an error.
func scanBackup(r io.Reader, f func(logMessage) error) error {
	a := archive.NewReader(r)
	var buf []byte
	for {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		size := h.HeaderSize + h.PayloadSize
		if h.Name == "" && size == 0 {
			return nil // the mark of the end
		}
		if h.Sequence == 0 {
			continue // the state of the stream
		}
		if size > 2<<20 {
			return fmt.Errorf("message %d of %d bytes, want at most 1 MiB", h.Sequence, size)
		}
		if int64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(a, buf); err != nil && size > 0 {
			return err
		}
		m := logMessage{seq: h.Sequence, time: time.Unix(0, h.Timestamp).UTC(), data: buf[h.HeaderSize:]}
		if at, ok := writtenAt(buf[:h.HeaderSize]); ok {
			m.time = at
		}
		if err := f(m); err != nil {
			return err
		}
	}
}

// writtenAt finds the header At in an encoded header.
func writtenAt(header []byte) (time.Time, bool) {
	_, rest, ok := bytes.Cut(header, []byte("\r\n"+hdrAt+": "))
	if !ok {
		return time.Time{}, false
	}
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	at, err := strconv.ParseInt(string(value), 10, 64)
	return time.Unix(0, at).UTC(), err == nil
}
