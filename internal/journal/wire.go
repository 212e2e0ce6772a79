package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// This file speaks the wire protocol of JetStream where nats.go has no call for it: batches of direct reads (NATS ADR-31) and
// atomic batches of writes (ADR-50).

const (
	hdrExpectLast        = "Nats-Expected-Last-Sequence"
	hdrExpectLastSubject = "Nats-Expected-Last-Subject-Sequence"
	hdrBatchID           = "Nats-Batch-Id"
	hdrBatchSequence     = "Nats-Batch-Sequence"
	hdrBatchCommit       = "Nats-Batch-Commit"
	hdrTTL               = "Nats-TTL"
	hdrMarkerReason      = "Nats-Marker-Reason" // set by the server on the marker of a record whose TTL ended
	hdrOperation         = "KV-Operation"
	opPurge              = "PURGE" // the server knows it as a delete marker, and so do NATS tools
	hdrSequence          = "Nats-Sequence"
	hdrTimeStamp         = "Nats-Time-Stamp"
	hdrNumPending        = "Nats-Num-Pending"
	hdrStatus            = "Status"
	hdrDescription       = "Description"

	codeWrongLastSequence = 10071
	codeDuplicateInBatch  = 10201

	readMessages = 1000
	readBytes    = 4 << 20
)

var errHalted = errors.New("a write stopped halfway")

// unanswered reports whether err means that the server did not say what it did.
func unanswered(err error) bool {
	for _, e := range []error{
		context.DeadlineExceeded, context.Canceled,
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrBadSubscription,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount, errHalted,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusal is the server's definite no: nothing was stored.
type refusal struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s (JetStream error %d)", r.Description, r.Code)
}

// conflict reports whether err says that a record or a stream has moved on.
func conflict(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.Code == codeWrongLastSequence || r.Code == codeDuplicateInBatch)
}

// publish stores m and returns its sequence. The answer comes after fsync. Errors are a *refusal, or unanswered.
func (e *engine) publish(ctx context.Context, m *nats.Msg) (uint64, error) {
	reply, err := e.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Seq   uint64   `json:"seq"`
		Error *refusal `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("answer of the embedded server %q: %w", reply.Data, err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// lastSequence returns the sequence of the newest message a stream ever held, and of the oldest it still holds.
func (e *engine) lastSequence(ctx context.Context, stream string) (first, last uint64, err error) {
	s, err := e.js.Stream(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	st := s.CachedInfo().State
	return st.FirstSeq, st.LastSeq, nil
}

// collect sends one request and gathers up to n answers, or up to size bytes of them if size is not 0. The server ends them with
// a status message, which is returned too, or with nothing when it has sent n, or exactly size bytes.
func (e *engine) collect(
	ctx context.Context, subject string, request any, n, size int,
) (msgs []*nats.Msg, status *nats.Msg, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, nil, err
	}
	inbox := e.nc.NewInbox()
	queue := make(chan *nats.Msg, n+1) // SubscribeSync would make one of 512 KiB for each call
	sub, err := e.nc.ChanSubscribe(inbox, queue)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is gone, and the subscription with it
	if err := e.nc.PublishRequest(subject, inbox, body); err != nil {
		return nil, nil, err
	}
	for got := 0; len(msgs) < n && (size == 0 || got < size); {
		var m *nats.Msg
		select {
		case m = <-queue:
		case <-e.gone:
			return nil, nil, nats.ErrConnectionClosed
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if m.Header.Get(hdrStatus) != "" {
			return msgs, m, nil
		}
		msgs = append(msgs, m)
		got += m.Size()
	}
	return msgs, nil, nil
}

// record is one stored message of a stream that is read by subject.
type record struct {
	subject string
	seq     uint64
	time    time.Time
	header  nats.Header
	data    []byte
}

func newRecord(m *nats.Msg) (record, error) {
	r := record{subject: m.Header.Get("Nats-Subject"), header: m.Header, data: m.Data}
	var err error
	if r.seq, err = strconv.ParseUint(m.Header.Get(hdrSequence), 10, 64); err != nil {
		return r, fmt.Errorf("answer of the embedded server: %s: %w", hdrSequence, err)
	}
	if r.time, err = time.Parse(time.RFC3339Nano, m.Header.Get(hdrTimeStamp)); err != nil {
		return r, fmt.Errorf("answer of the embedded server: %s: %w", hdrTimeStamp, err)
	}
	if r.data == nil {
		r.data = []byte{}
	}
	return r, nil
}

// deleted reports whether r only marks that its key has no record.
func (r record) deleted() bool {
	return r.header.Get(hdrOperation) == opPurge || r.header.Get(hdrMarkerReason) != ""
}

type directGet struct {
	Seq        uint64 `json:"seq,omitempty"`
	Batch      int    `json:"batch,omitempty"`
	MaxBytes   int    `json:"max_bytes,omitempty"`
	NextBySubj string `json:"next_by_subj,omitempty"`
	LastBySubj string `json:"last_by_subj,omitempty"`
}

// whole refuses what was read from CTRL when a write to it has stopped halfway: that may be half a commit, until the next start
// of the server completes it. The server logs the error before it lets go of the readers.
func (e *engine) whole(stream string) error {
	if stream != streamCtrl || !e.log.failed.Load() {
		return nil
	}
	if err := e.health(stream); err != nil {
		return fmt.Errorf("%w: %w", errHalted, err)
	}
	return nil
}

// readLast returns the newest message whose subject matches filter, or ErrNotFound.
func (e *engine) readLast(ctx context.Context, stream, filter string) (record, error) {
	msgs, status, err := e.collect(ctx, "$JS.API.DIRECT.GET."+stream, directGet{LastBySubj: filter}, 1, 0)
	if err == nil {
		err = e.whole(stream)
	}
	if err != nil {
		return record{}, err
	}
	if len(msgs) == 1 {
		return newRecord(msgs[0])
	}
	if status.Header.Get(hdrStatus) == "404" {
		return record{}, ErrNotFound
	}
	return record{}, statusError(status)
}

// readFrom returns the next messages from seq on whose subjects match filter, in order, and whether there are more.
// It never sees half of an atomic batch: the server holds batches back from direct reads until they are whole.
func (e *engine) readFrom(ctx context.Context, stream, filter string, seq uint64) (records []record, more bool, err error) {
	req := directGet{Seq: seq, Batch: readMessages, MaxBytes: readBytes, NextBySubj: filter}
	msgs, status, err := e.collect(ctx, "$JS.API.DIRECT.GET."+stream, req, readMessages+1, 0) // and the status at its end
	if err == nil {
		err = e.whole(stream)
	}
	if err != nil {
		return nil, false, err
	}
	switch status.Header.Get(hdrStatus) {
	case "204": // end of batch
	case "404":
		return nil, false, nil
	default:
		return nil, false, statusError(status)
	}
	records = make([]record, len(msgs))
	for i, m := range msgs {
		if records[i], err = newRecord(m); err != nil {
			return nil, false, err
		}
	}
	return records, status.Header.Get(hdrNumPending) != "0", nil
}

func statusError(status *nats.Msg) error {
	return fmt.Errorf("embedded server: %s %s", status.Header.Get(hdrStatus), status.Header.Get(hdrDescription))
}

// logMessage is one stored message of the log.
type logMessage struct {
	seq  uint64
	time time.Time
	data []byte
}

// readLog returns messages of the log from seq on, in order, of at most size bytes together; none means that there are none. A
// consumer is made for it and removed again: it delivers a message for half the CPU of a direct read, and holds nothing open
// while the messages are used. The first message must not be larger than size.
func (e *engine) readLog(ctx context.Context, seq uint64, size int) (_ []logMessage, err error) {
	c, err := e.js.CreateConsumer(ctx, streamLog, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: seq,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	info := c.CachedInfo()
	defer func() { err = errors.Join(err, e.js.DeleteConsumer(ctx, streamLog, info.Name)) }()
	if info.NumPending == 0 {
		return nil, nil
	}
	request := struct {
		Batch    int  `json:"batch"`
		MaxBytes int  `json:"max_bytes"`
		NoWait   bool `json:"no_wait"`
	}{readMessages, size, true}
	raw, status, err := e.collect(ctx, "$JS.API.CONSUMER.MSG.NEXT."+streamLog+"."+info.Name, request, readMessages, size)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%d messages from %d on: %w", info.NumPending, seq, statusError(status))
	}
	msgs := make([]logMessage, len(raw))
	for i, m := range raw {
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		msgs[i] = logMessage{seq: meta.Sequence.Stream, time: meta.Timestamp.UTC(), data: m.Data}
		if at, err := strconv.ParseInt(m.Header.Get(hdrAt), 10, 64); err == nil {
			msgs[i].time = time.Unix(0, at).UTC()
		}
	}
	return msgs, nil
}
