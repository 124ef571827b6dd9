-- Who is behind a client's address. services/networks.py tells addresses apart alike, by test.

-- Returns the fields of one side of the `::` in an IPv6 address.
local function fields(text)
  local found = {}
  for field in text:gmatch("[^:]+") do found[#found + 1] = field end
  return found
end

-- Returns who is behind an address and port: an IPv4 address, or the /64 of an IPv6 one (RFC 6177).
local function network(address)
  local v6 = address:match("^%[(.*)%]")
  if not v6 then return address:match("^[^:]*") end
  local mapped = v6:match("^::ffff:([%d.]+)$")
  if mapped then return mapped end
  local head, tail = v6:match("^(.-)::(.*)$")
  local found, last = fields(head or v6), fields(tail or "")
  for _ = 1, 8 - #found - #last do found[#found + 1] = "0" end
  for _, field in ipairs(last) do found[#found + 1] = field end
  return table.concat(found, ":", 1, 4)
end
