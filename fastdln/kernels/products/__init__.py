"""What is computed: the products of a right-hand side as programs, and the code that runs them."""
