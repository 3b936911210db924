package checksum

// Body is one implementation of the kernels; tests call each directly, so a
// fallback never tests itself.
type Body struct {
	Name string
	Min  int // shortest length it takes
	Sum  func(b []byte) Acc
	Copy func(dst, src []byte) Acc
}

func genericBody() Body {
	return Body{
		Name: "generic",
		Sum:  func(b []byte) Acc { return Acc(sumGeneric(b)) },
		Copy: func(dst, src []byte) Acc { return Acc(copyGeneric(dst[:len(src)], src)) },
	}
}

// dispatchBody is what users call.
func dispatchBody() Body { return Body{Name: "dispatch", Sum: Sum, Copy: Copy} }
