-- Whether a task in this state has been started, and has not ended.
local function running(state)
  return state ~= '' and state ~= 'RETRY' and state ~= 'PENDING' and state ~= 'RECEIVED'
end
