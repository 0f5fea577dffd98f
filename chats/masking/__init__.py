"""Personal data is replaced before words leave for strangers' machines, and put back in what they answer."""
