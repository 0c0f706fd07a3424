workers Integer(ENV.fetch("BENCH_WORKERS"))
threads 5, 5
silence_single_worker_warning
log_requests false
