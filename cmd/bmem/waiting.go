package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// waiting shows on a terminal that something is under way, and for how long. The caller ends it by calling end.
func waiting(w io.Writer, what string) (end func()) {
	if !isTerminal(w) {
		return func() {}
	}
	bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSpinnerType(14), progressbar.OptionSetSpinnerChangeInterval(time.Second), progressbar.OptionClearOnFinish())
	return func() { _ = bar.Finish() } // what cannot be shown is not shown
}
