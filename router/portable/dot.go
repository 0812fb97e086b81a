package portable

// add computes y += x·W: y [n], x [k], W [k, n] row by row. Numbers of x that are zero, of which a relu leaves many, cost
// nothing. rows is scratch of at least k.
func add(y, x, w []float32, rows []int32) {
	rows = rows[:len(x)]
	found := 0
	for i, v := range x {
		rows[found] = int32(i)
		if v != 0 {
			found++
		}
	}
	n := len(y)
	_ = w[:len(x)*n]
	done := addVectors(y, x, w, rows[:found])
	if done == n {
		return
	}
	rest := y[done:]
	rows = rows[:found]
	for ; len(rows) >= 4; rows = rows[4:] {
		a, b, c, d := int(rows[0]), int(rows[1]), int(rows[2]), int(rows[3])
		x0, x1, x2, x3 := x[a], x[b], x[c], x[d]
		w0, w1, w2, w3 := w[a*n+done:a*n+n], w[b*n+done:b*n+n], w[c*n+done:c*n+n], w[d*n+done:d*n+n]
		w0, w1, w2, w3 = w0[:len(rest)], w1[:len(rest)], w2[:len(rest)], w3[:len(rest)]
		for j := range rest {
			rest[j] += (x0*w0[j] + x1*w1[j]) + (x2*w2[j] + x3*w3[j])
		}
	}
	for _, i := range rows {
		v, row := x[i], w[int(i)*n+done:int(i)*n+n]
		for j := range rest {
			rest[j] += v * row[j]
		}
	}
}
