worker_processes Integer(ENV.fetch("BENCH_WORKERS"))
logger Logger.new(File::NULL)
