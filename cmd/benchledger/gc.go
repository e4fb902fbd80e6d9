package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// gcHeadroom is how much garbage the server keeps before it collects it: a small server saves
// processor time, and a large request does not quadruple its memory, as a fixed percentage
// (GOGC) would have it.
const (
	gcHeadroom                 = 16 << 20
	minGCPercent, maxGCPercent = 25, 400
)

// tuneGC sets GOGC (SetGCPercent) anew after each collection.
func tuneGC() {
	const live = "/gc/heap/live:bytes"
	sample := []metrics.Sample{{Name: live}}
	metrics.Read(sample)
	used := max(sample[0].Value.Uint64(), 1)
	debug.SetGCPercent(int(min(max(gcHeadroom*100/used, minGCPercent), maxGCPercent)))
	type sentinel struct{ _ *int }
	runtime.SetFinalizer(new(sentinel), func(*sentinel) { tuneGC() }) // It runs after the next collection.
}
