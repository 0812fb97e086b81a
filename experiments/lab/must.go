package lab

// Check panics with err, if it is not nil: a cell fails with it, and the notebook's run names the line.
func Check(err error) {
	if err != nil {
		panic(err)
	}
}

// Must returns v, unless there is an error: then it panics, as Check does.
func Must[T any](v T, err error) T {
	Check(err)
	return v
}
