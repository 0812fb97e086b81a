package memory

import "context"

type queueKey struct{}

// WithQueue makes requests under ctx that run a model, which are adding, editing, searching and asking, take a place first. enter
// returns what gives the place back, or an error, such as an *Error, that refuses the request.
func WithQueue(ctx context.Context, enter func() (leave func(), err error)) context.Context {
	return context.WithValue(ctx, queueKey{}, enter)
}

// enter takes a place in the queue of ctx, if it has one.
func enter(ctx context.Context) (leave func(), err error) {
	if take, ok := ctx.Value(queueKey{}).(func() (func(), error)); ok {
		return take()
	}
	return func() {}, nil
}
