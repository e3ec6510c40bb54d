-- Names records whose claim ran out. ARGV: prefix.
return call('ZRANGEBYSCORE', times, first_of(CLAIMED), CLAIMED .. from_now(0), 'LIMIT', 0, 200)
