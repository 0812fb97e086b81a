package portable

// add computes y += x·W over the given rows of W: y [n], x [k], W [k, n] in row-major order.
func add(y, x, w []float32, rows []int32) {
	n := len(y)
	_ = w[:len(x)*n]
	done := addVectors(y, x, w, rows)
	if done == n {
		return
	}
	rest := y[done:]
	row := func(i int32) []float32 { return w[int(i)*n+done : int(i)*n+n][:len(rest)] }
	for ; len(rows) >= 8; rows = rows[8:] {
		r := (*[8]int32)(rows)
		x0, x1, x2, x3, x4, x5, x6, x7 := x[r[0]], x[r[1]], x[r[2]], x[r[3]], x[r[4]], x[r[5]], x[r[6]], x[r[7]]
		w0, w1, w2, w3, w4, w5, w6, w7 := row(r[0]), row(r[1]), row(r[2]), row(r[3]), row(r[4]), row(r[5]), row(r[6]), row(r[7])
		for j := range rest {
			rest[j] += ((x0*w0[j] + x1*w1[j]) + (x2*w2[j] + x3*w3[j])) + ((x4*w4[j] + x5*w5[j]) + (x6*w6[j] + x7*w7[j]))
		}
	}
	for _, i := range rows {
		v, row := x[i], row(i)
		for j := range rest {
			rest[j] += v * row[j]
		}
	}
}

// positive lists the indices of the numbers above zero, those that a relu lets through, in a buffer with room for len(x).
func positive(x []float32, indices []int32) []int32 {
	indices = indices[:len(x)]
	found := 0
	for i, v := range x {
		indices[found] = int32(i)
		if v > 0 {
			found++
		}
	}
	return indices[:found]
}
