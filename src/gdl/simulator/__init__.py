"""A simulated market: real HTTP, real SSH, real processes; machines, prices and models made up.

    async with Service(load("chaos"), root=folder, seed=7, speed=50) as service:
        service.url                 # speaks cloud-gpu-shopper's interface
        service.market.rented()     # ids of sessions whose machine exists, whatever is said of them
        service.market.faults_of(offer_id)   # what was drawn for an offer
        service.draws.inject(Http(on="create", answer="cut", made=True))   # what goes wrong next
        service.api.received        # what was asked

service.py ties the parts together; market.py is the service's behaviour, http_api.py its HTTP side,
machines.py what a machine is to it, simulated_machine.py one that runs here, programs/ what runs on
it, scenarios/ what may go wrong.
"""
