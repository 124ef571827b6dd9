-- Whether an If-None-Match names the version of an answer, compared weakly (RFC 9110, 13.1.2).
local function knows(known, etag)
  if known == "*" then return true end
  local version = etag:match('"([^"]*)"')
  for each in known:gmatch('"([^"]*)"') do
    if each == version then return true end
  end
  return false
end
