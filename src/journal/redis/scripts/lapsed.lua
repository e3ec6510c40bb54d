-- Names records whose claim ran out. ARGV: prefix.
return redis.call('ZRANGEBYSCORE', leases, '-inf', text(now), 'LIMIT', 0, 200)
