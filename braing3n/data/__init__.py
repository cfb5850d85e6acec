"""From a site's files to the tensors that training sees; nothing here leaves the site."""
