-- Figures and tables get the numbers that the text calls them by: pandoc numbers references, but no captions.
local counts = {Figure = 0, Table = 0}
local function numbered(kind)
  return function(element)
    if #element.caption.long == 0 then return nil end
    counts[kind] = counts[kind] + 1
    element.caption.long[1].content:insert(1, pandoc.Str(kind .. ' ' .. counts[kind] .. ': '))
    return element
  end
end
return {{Figure = numbered('Figure'), Table = numbered('Table')}}
