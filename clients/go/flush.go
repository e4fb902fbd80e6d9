package benchledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FlushOptions configure Flush.
type FlushOptions struct {
	RecorderOptions
	// Refused sends what the server refused before, instead of what it never received.
	Refused bool
	// From selects submissions for the server at this address, for example after it has moved.
	From string
}

// Flushed counts what happened to the submissions in a spool.
type Flushed struct {
	Delivered, Refused int
	// Elsewhere counts submissions for other servers, by address. Flush leaves them alone.
	Elsewhere map[string]int
	// Unreadable has an error for each file that is not a submission, or cannot be read; an
	// *fs.PathError if reading failed. Flush leaves them alone.
	Unreadable []error
	// Left counts submissions that could not be delivered.
	Left int
}

// Flush sends the submissions that recorders left in the spool for the server. It goes round those
// that fail, and tries them again at the end, each alone. If the server is unreachable, or several
// submissions in a row fail, it stops. Its error then says why something is left.
func Flush(ctx context.Context, options FlushOptions) (Flushed, error) {
	r, err := newRecorder(options.RecorderOptions)
	if err != nil {
		return Flushed{}, err
	}
	defer r.Close()
	folder := ""
	if options.Refused {
		folder = refusedDir
	}
	names, unreadable, err := r.spool.list(folder)
	if err != nil {
		return Flushed{}, fmt.Errorf("read the spool: %w", err)
	}
	entries, elsewhere, more := r.find(ctx, names, cmp.Or(normalize(options.From), r.url))
	if ctx.Err() != nil { // Not all entries are found.
		return Flushed{}, context.Cause(ctx)
	}
	flushed, err := r.flush(ctx, entries, r.noResponse(""))
	flushed.Elsewhere, flushed.Unreadable = elsewhere, slices.Concat(unreadable, more, flushed.Unreadable)
	if err != nil {
		err = fmt.Errorf("%w (what is left stays in %s)", err, r.spool.dir)
	}
	return flushed, err
}

// find returns the entries for a server without their bodies, oldest first, and counts those for other
// servers.
func (r *Recorder) find(ctx context.Context, names []string, server string) (its []entry, elsewhere map[string]int, unreadable []error) {
	elsewhere = map[string]int{}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		var err error
		if strings.HasSuffix(name, partial) {
			name, err = r.spool.rescue(name)
		}
		var e entry
		if name != "" && err == nil {
			e, err = r.spool.head(name)
		}
		switch address := normalize(e.URL); {
		case errors.Is(err, fs.ErrNotExist): // Another process delivered it.
		case err != nil:
			unreadable = append(unreadable, err)
		case name == "":
		case address == server:
			its = append(its, e)
		default:
			elsewhere[address]++
		}
	}
	slices.SortStableFunc(its, func(a, b entry) int { return a.SpooledAt.Compare(b.SpooledAt) })
	return its, elsewhere, unreadable
}

const (
	// The largest request that a flush sends.
	flushRuns  = 500
	flushBytes = 4 << 20
	// flushFailures is how many submissions in a row fail before a flush stops.
	flushFailures = 5
)

// flushing sends entries of the spool.
type flushing struct {
	*Recorder
	notify func(why error, until time.Time)
	Flushed
	// failed has the IDs of entries that failed alone: later states of them must not be stored before.
	failed map[string]bool
	// why is the error of the first entry that failed alone.
	why error
	// kept counts files that cannot be removed from the spool.
	kept    int
	whyKept error
}

// flush sends first the batches, so that they keep their createdAt, then the runs, many per
// request. notify is that of Retrier.Do.
func (r *Recorder) flush(ctx context.Context, entries []entry, notify func(why error, until time.Time)) (Flushed, error) {
	f := flushing{Recorder: r, notify: notify, Flushed: Flushed{Left: len(entries)}}
	err := f.all(ctx, entries)
	if err == nil {
		err = f.why
	}
	if f.kept > 0 {
		err = errors.Join(err, fmt.Errorf("%d of the files in the spool cannot be removed, and will be sent again, which does no harm: %w", f.kept, f.whyKept))
	}
	return f.Flushed, err
}

// all sends all entries, and returns the error that stopped it.
func (f *flushing) all(ctx context.Context, entries []entry) error {
	if f.retrier.For > 0 { // First everything once: nothing waits until the retry time of something else is over.
		left, err := f.round(ctx, entries, false)
		if again, _ := retriable(err); err != nil && !again {
			return err
		}
		entries = left
	}
	_, err := f.round(ctx, entries, true)
	return err
}

// round sends entries in groups, and then those of the groups that failed, each alone. It returns what is
// left, in order, and the error that stopped it.
func (f *flushing) round(ctx context.Context, entries []entry, patient bool) (left []entry, _ error) {
	f.failed, f.why = map[string]bool{}, nil
	for i := range entries {
		entries[i].failed = false
	}
	for groups := grouped(entries); len(groups) > 0; {
		whole := f.pass(ctx, groups, map[string]bool{}, patient)
		before, rest := f.Left, slices.Concat(whole.rest...)
		if whole.stopped && !whole.inARow {
			return slices.Concat(left, slices.Concat(whole.failed...), rest), whole.err
		}
		var singles [][]entry
		for _, e := range slices.Concat(whole.failed...) {
			if e.failed {
				left = append(left, e)
			} else {
				singles = append(singles, []entry{e})
			}
		}
		alone := f.pass(ctx, singles, maps.Clone(f.failed), patient)
		left = slices.Concat(left, slices.Concat(alone.failed...))
		if alone.stopped || whole.stopped && f.Left == before { // Not one of them is stored.
			return slices.Concat(left, slices.Concat(alone.rest...), rest), cmp.Or(alone.err, whole.err)
		}
		groups = whole.rest
	}
	return left, nil
}

// grouped returns batches, each alone, and then groups of runs.
func grouped(entries []entry) (groups [][]entry) {
	var group []entry
	size := int64(0)
	for _, e := range entries {
		if e.Operation == submitBatch {
			groups = append(groups, []entry{e})
		}
	}
	for _, e := range entries {
		if e.Operation == submitBatch {
			continue
		}
		if len(group) == flushRuns || len(group) > 0 && size+e.size > flushBytes {
			groups, group, size = append(groups, group), nil, 0
		}
		group, size = append(group, e), size+e.size
	}
	if len(group) > 0 {
		groups = append(groups, group)
	}
	return groups
}

// passed is the result of a pass: the groups that failed, those that were not tried, and the last
// error. stopped tells that the server is unreachable, that no other submission can succeed, or, with
// inARow, that several have failed in a row.
type passed struct {
	failed, rest    [][]entry
	err             error
	stopped, inARow bool
}

// pass sends groups in their order, and goes round those that fail. behind has the IDs of runs and
// batches with an entry that failed, and of batches whose runs have to wait: these entries are not sent,
// and are in failed. With patient, it retries each group for RetryFor.
func (f *flushing) pass(ctx context.Context, groups [][]entry, behind map[string]bool, patient bool) (p passed) {
	failures := 0
	for i, group := range groups {
		ready, late := f.load(group, behind)
		if len(late) > 0 {
			p.failed = append(p.failed, late)
		}
		if len(ready) == 0 {
			continue
		}
		err := f.submit(ctx, ready, patient)
		if err == nil {
			failures = 0
			continue
		}
		p.err = err
		var answered *Error
		if errors.As(err, &answered) && answered.isAboutContent() { // One of them is at fault, for example too large.
			var singles [][]entry
			for _, e := range ready {
				singles = append(singles, []entry{e})
			}
			inner := f.pass(ctx, singles, behind, patient)
			p.failed = append(p.failed, inner.failed...)
			if inner.stopped {
				inner.failed, inner.rest = p.failed, append(inner.rest, groups[i+1:]...)
				return inner
			}
			failures = 0
			continue
		}
		for n := range ready {
			e := &ready[n]
			e.Body = nil
			behind[e.id], behind["of "+e.id] = true, true
			if len(ready) == 1 {
				e.failed, f.failed[e.id] = true, true
				if !patient { // A batch keeps its createdAt if it is stored before its runs.
					f.failed["of "+e.id] = true
				}
				if f.why == nil {
					f.why = fmt.Errorf("%s was not delivered: %w", filepath.Join(f.spool.dir, e.name), err)
				}
			}
		}
		p.failed = append(p.failed, ready)
		failures++
		p.inARow = failures == flushFailures
		if p.stopped = p.inARow || ctx.Err() != nil || isHopeless(err); p.stopped {
			p.rest = groups[i+1:]
			if p.inARow {
				p.err = fmt.Errorf("%w; %d submissions in a row failed, so others were not tried", err, flushFailures)
			}
			return p
		}
	}
	return p
}

// load reads the entries of a group. late are those that must wait for an earlier one.
func (f *flushing) load(group []entry, behind map[string]bool) (ready, late []entry) {
	for _, e := range group {
		whole, err := f.spool.read(e.name)
		if err != nil {
			f.Left--
			if !errors.Is(err, fs.ErrNotExist) { // Otherwise another process delivered it.
				f.Unreadable = append(f.Unreadable, err)
			}
			continue
		}
		var ids struct{ RunID, BatchID string }
		_ = json.Unmarshal(whole.Body, &ids) // It may hold anything: the server validates it.
		if whole.id = "run " + ids.RunID; whole.Operation == submitBatch {
			whole.id = "batch " + ids.BatchID
		}
		if behind[whole.id] || behind["of batch "+ids.BatchID] {
			behind[whole.id] = true
			late = append(late, e)
		} else {
			ready = append(ready, whole)
		}
	}
	return ready, late
}

// submit sends a group, and notes what happened to each of its entries. It returns the error of a group
// that was neither stored nor refused.
func (f *flushing) submit(ctx context.Context, group []entry, patient bool) error {
	if len(group) == 1 {
		return f.submitAlone(ctx, group[0], patient)
	}
	var lines bytes.Buffer
	for _, e := range group {
		lines.Write(e.Body)
		lines.WriteByte('\n')
	}
	var receipts []Receipt
	send := func() (err error) {
		receipts, err = f.client.SubmitLines(ctx, &SubmitRunsParams{}, bytes.NewReader(lines.Bytes()))
		return err
	}
	var err error
	if patient {
		err = f.retrier.Do(ctx, send, f.notify)
	} else {
		err = send()
	}
	if err != nil {
		return err
	}
	for i, receipt := range receipts {
		f.warn(receipt.Warnings)
		f.note(group[i], receipt.refusal())
	}
	return nil
}

func (f *flushing) submitAlone(ctx context.Context, e entry, patient bool) error {
	var err error
	if patient {
		err = f.send(ctx, e.Operation, e.Body, f.notify)
	} else {
		err = f.post(ctx, e.Operation, e.Body)
	}
	var answered *Error
	if err != nil && (!errors.As(err, &answered) || !answered.isAboutContent()) {
		return err
	}
	f.note(e, answered)
	return nil
}

// note removes an entry that the server has stored, and moves one that it has refused.
func (f *flushing) note(e entry, why *Error) {
	f.Left--
	var err error
	if why != nil {
		f.Refused++
		e.URL = f.url
		err = f.spool.refuse(e.name, e, why)
	} else {
		f.Delivered++
		err = f.spool.remove(e.name)
	}
	if err != nil {
		if f.kept++; f.kept == 1 {
			f.whyKept = err
		}
	}
}

// isHopeless reports whether no other submission can succeed now: the server is unreachable, or the
// API key or the address is wrong.
func isHopeless(err error) bool {
	var dial *net.OpError
	var answered *Error
	var foreign *ForeignError
	switch {
	case errors.As(err, &answered):
		return !answered.Retriable() && !answered.isAboutContent()
	case errors.As(err, &foreign):
		return foreign.Location != ""
	}
	return errors.As(err, &dial) && (dial.Op == "dial" || dial.Op == "proxyconnect")
}
