package sql_test

func child() bool { return false }
