"""How good a resynthesis is, and how well the codes are used."""
